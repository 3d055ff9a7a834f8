//! What a request that was accepted is answered: in the form of whoever posts, so that a person who asked sees it. PURE.

use serde_json::json;

use crate::model::SourceKind;
use crate::queue::{Append, RequestAnswer};

const JSON: &str = "application/json";

/// The answer to a request that became these events. `text` is what the rules say to whoever asked.
pub(super) fn answer(kind: &SourceKind, text: Option<&str>, events: &[Append]) -> RequestAnswer {
    let body = match (kind, text) {
        // Seen by the one who typed the command (docs.slack.dev, "Responding to commands").
        (SourceKind::Slack, Some(text)) => json!({ "response_type": "ephemeral", "text": text }),
        // Becomes a notice in the room (HipChat API v2, webhooks).
        (SourceKind::Hipchat, Some(text)) => {
            json!({ "message": text, "message_format": "text", "notify": false, "color": "green" })
        }
        // Any text in it would be shown to people: they get none.
        (SourceKind::Slack | SourceKind::Hipchat, None) => {
            return RequestAnswer { content_type: String::new(), body: String::new() };
        }
        (_, text) => {
            let event = |append: &Append| json!({ "id": append.event.id, "type": append.event.event_type });
            let mut body = json!({ "events": events.iter().map(event).collect::<Vec<_>>() });
            if let (Some(text), Some(members)) = (text, body.as_object_mut()) {
                members.insert("answer".to_owned(), text.into());
            }
            body
        }
    };
    RequestAnswer { content_type: JSON.to_owned(), body: body.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_answered_in_the_form_of_their_service() {
        let text = Some("Tracking Landing page in Website");
        let slack = answer(&SourceKind::Slack, text, &[]);
        assert_eq!(slack.content_type, JSON);
        assert_eq!(slack.body, r#"{"response_type":"ephemeral","text":"Tracking Landing page in Website"}"#);
        let room: serde_json::Value =
            serde_json::from_str(&answer(&SourceKind::Hipchat, text, &[]).body).unwrap();
        assert_eq!(
            room,
            json!({"message": "Tracking Landing page in Website", "message_format": "text", "notify": false, "color": "green"})
        );
        for kind in [SourceKind::Slack, SourceKind::Hipchat] {
            assert_eq!(answer(&kind, None, &[]).body, "");
        }
        assert_eq!(answer(&SourceKind::Github, None, &[]).body, r#"{"events":[]}"#);
        assert_eq!(answer(&SourceKind::Token, Some("a"), &[]).body, r#"{"answer":"a","events":[]}"#);
    }
}

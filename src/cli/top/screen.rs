//! A terminal that is drawn on again and again, and is given back as it was, however the command ends.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

/// The alternate screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// To the upper left; the rest of a line, and of the screen, is cleared.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
/// What a terminal has that does not say.
const ROWS_COLUMNS: (u16, u16) = (24, 80);

/// See the module's documentation.
pub(super) struct Screen {
    /// How the keyboard was set, if there is one.
    before: Option<Termios>,
    out: io::Stdout,
}

impl Screen {
    /// Takes over the terminal on stdout.
    pub(super) fn enter() -> io::Result<Screen> {
        let screen = Screen { before: quiet_keys(), out: io::stdout() };
        screen.write(ENTER)?;
        Ok(screen)
    }

    /// Draws lines, as far as there is room.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let (rows, columns) = self.size();
        let mut text = HOME.to_owned();
        for (index, line) in lines.iter().take(usize::from(rows)).enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            text.extend(line.chars().take(usize::from(columns)));
            text.push_str(CLEAR_LINE);
        }
        text.push_str(CLEAR_REST);
        self.write(&text)
    }

    fn size(&self) -> (u16, u16) {
        match tcgetwinsize(&self.out) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
            _ => ROWS_COLUMNS,
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Keys as they are pressed; none without a keyboard.
    pub(super) fn keys(&self) -> mpsc::Receiver<u8> {
        let (sender, receiver) = mpsc::channel(16);
        if self.before.is_some() {
            let read = move || {
                let mut stdin = io::stdin().lock();
                let mut key = [0];
                while stdin.read_exact(&mut key).is_ok()
                    && key.iter().all(|key| sender.blocking_send(*key).is_ok())
                {}
            };
            // Without it there is still Ctrl-C. The read cannot be called off; it ends with the process.
            drop(std::thread::Builder::new().name("keys".to_owned()).spawn(read));
        }
        receiver
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody to tell that a terminal that is gone could not be given back.
        self.write(LEAVE).unwrap_or_default();
        if let Some(before) = &self.before {
            tcsetattr(io::stdin(), OptionalActions::Now, before).unwrap_or_default();
        }
    }
}

/// Keys come one by one and are not shown; Ctrl-C stays a signal. Answers how it was before.
fn quiet_keys() -> Option<Termios> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let before = tcgetattr(io::stdin()).ok()?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Now, &quiet).ok()?;
    Some(before)
}

//! JSON as expressions see it: shared trees, of which those that came as text know the very bytes of each object and
//! array. PURE.
//!
//! Nothing here is ever a list or map of the interpreter's own: those are copied deep wherever they are named. An
//! expression's own lists and objects become nodes as soon as they are made (see `rewrite`), so that every comparison
//! is one of nodes, whichever side an operand is on.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use cel::ExecutionError;
use cel::common::traits::{Indexer, Iterable, Iterator as Lender, Sizer, Zeroer};
use cel::common::types::{self, CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt, Type};
use cel::common::value::{CowVal, StaticVal, Val};

use super::equality::same;
use super::meter::{Meter, text_steps};

static NULL: CelNull = CelNull;
static LIST: Type = types::LIST_TYPE;
static OBJECT: Type = types::MAP_TYPE;

/// From how many members on an object is searched by halves.
const FEW: usize = 8;

/// A JSON value.
#[derive(Clone)]
pub(super) enum Json {
    Null,
    Bool(CelBool),
    Int(CelInt),
    UInt(CelUInt),
    Double(CelDouble),
    Text(CelString<'static>),
    Node(Node),
}

/// An array or an object. Cheap to clone.
#[derive(Clone)]
pub(super) struct Node(Arc<Inner>);

struct Inner {
    shape: Shape,
    /// The bytes that it was read from; none if it was computed.
    raw: Option<Bytes>,
    /// How many nodes are around its innermost value, itself included.
    depth: usize,
}

/// What a node is.
pub(super) enum Shape {
    List(Vec<Json>),
    Object(Object),
}

/// Members in their order. Of those with one name only the last is here.
#[derive(Default)]
pub(super) struct Object {
    members: Vec<Member>,
    /// Indexes of the members by name; empty if there are few.
    by_name: Vec<usize>,
}

/// A member of an object.
pub(super) struct Member {
    pub(super) name: CelString<'static>,
    pub(super) value: Json,
}

/// No contents: payloads are secret.
impl fmt::Debug for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Json({})", self.as_val().get_type().name())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Node({})", self.get_type().name())
    }
}

impl Json {
    pub(super) fn as_val(&self) -> &(dyn Val + 'static) {
        match self {
            Json::Null => &NULL,
            Json::Bool(value) => value,
            Json::Int(value) => value,
            Json::UInt(value) => value,
            Json::Double(value) => value,
            Json::Text(value) => value,
            Json::Node(value) => value,
        }
    }

    pub(super) fn text(text: impl Into<String>) -> Json {
        Json::Text(CelString::from(text.into()))
    }

    /// What an expression made, if JSON can hold it.
    pub(super) fn take(value: Box<dyn Val + '_>) -> Result<Json, ExecutionError> {
        let val = value.as_ref();
        if let Some(node) = val.downcast_ref::<Node>() {
            return Ok(Json::Node(node.clone()));
        }
        if let Some(int) = val.downcast_ref::<CelInt>() {
            return Ok(Json::Int(*int));
        }
        if let Some(flag) = val.downcast_ref::<CelBool>() {
            return Ok(Json::Bool(*flag));
        }
        if val.downcast_ref::<CelNull>().is_some() {
            return Ok(Json::Null);
        }
        if let Some(double) = val.downcast_ref::<CelDouble>() {
            return Ok(Json::Double(CelDouble::from(*double.inner())));
        }
        if let Some(uint) = val.downcast_ref::<CelUInt>() {
            return Ok(Json::UInt(*uint));
        }
        String::try_from(value).map(Json::text).map_err(|value| {
            let kind = value.get_type().name().to_owned();
            ExecutionError::function_error(
                "@json",
                format!("a list or an object cannot hold a value of type {kind}"),
            )
        })
    }

    fn depth(&self) -> usize {
        if let Json::Node(node) = self { node.depth() } else { 0 }
    }

    /// Steps for handing it on, which copies a text.
    pub(super) fn steps(&self) -> u64 {
        if let Json::Text(text) = self { text_steps(text) } else { 1 }
    }
}

impl Object {
    /// Of members with the same name the last one counts.
    pub(super) fn new(members: Vec<Member>) -> Object {
        let mut object = Object { members, by_name: Vec::new() };
        if object.members.len() > FEW {
            object.sort();
        }
        let mut keep = vec![true; object.members.len()];
        let mut dropped = false;
        let mut drop_at = |index: Option<&usize>| {
            if let Some(flag) = index.and_then(|index| keep.get_mut(*index)) {
                *flag = false;
                dropped = true;
            }
        };
        for (index, member) in
            object.members.iter().enumerate().take(FEW * usize::from(object.by_name.is_empty()))
        {
            if object.members.iter().skip(index + 1).any(|later| later.name == member.name) {
                drop_at(Some(&index));
            }
        }
        for pair in object.by_name.windows(2) {
            if object.name_at(pair.first()) == object.name_at(pair.get(1)) {
                drop_at(pair.first());
            }
        }
        if dropped {
            let mut keep = keep.into_iter();
            object.members.retain(|_| keep.next().unwrap_or(true));
            object.sort();
        }
        object
    }

    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by(|a, b| self.name_at(Some(a)).cmp(&self.name_at(Some(b))));
        self.by_name = order;
    }

    fn name_at(&self, index: Option<&usize>) -> Option<&str> {
        index.and_then(|index| self.members.get(*index)).map(|member| &*member.name)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        let found = if self.by_name.is_empty() {
            self.members.iter().find(|member| &*member.name == name)
        } else {
            let at = self.by_name.binary_search_by(|index| self.name_at(Some(index)).cmp(&Some(name)));
            at.ok().and_then(|at| self.by_name.get(at)).and_then(|index| self.members.get(*index))
        };
        found.map(|member| &member.value)
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }
}

impl Node {
    pub(super) fn list(items: Vec<Json>, raw: Option<Bytes>) -> Node {
        let depth = 1 + items.iter().map(Json::depth).max().unwrap_or_default();
        Node(Arc::new(Inner { shape: Shape::List(items), raw, depth }))
    }

    pub(super) fn object(members: Vec<Member>, raw: Option<Bytes>) -> Node {
        let depth = 1 + members.iter().map(|member| member.value.depth()).max().unwrap_or_default();
        Node(Arc::new(Inner { shape: Shape::Object(Object::new(members)), raw, depth }))
    }

    pub(super) fn depth(&self) -> usize {
        self.0.depth
    }

    /// Whether both are one and the same.
    pub(super) fn is(&self, other: &Node) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.0.shape
    }

    pub(super) fn raw(&self) -> Option<&Bytes> {
        self.0.raw.as_ref()
    }

    pub(super) fn len(&self) -> usize {
        match self.shape() {
            Shape::List(items) => items.len(),
            Shape::Object(object) => object.members.len(),
        }
    }
}

impl Val for Node {
    fn get_type(&self) -> &Type {
        match self.shape() {
            Shape::List(_) => &LIST,
            Shape::Object(_) => &OBJECT,
        }
    }

    fn cel_type() -> &'static Type {
        &OBJECT
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)> {
        Some(self)
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)> {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(self)
    }

    /// Expressions compare with [`same`], which is charged; this is for the interpreter's own sake.
    fn equals(&self, other: &dyn Val) -> bool {
        same(self, other, &Meter::new(u64::MAX)) == Ok(true)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Node {}

impl Indexer for Node {
    fn get<'b, 'v>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let wrong = || ExecutionError::UnexpectedType {
            got: index.get_type().name().to_owned(),
            want: "index".to_owned(),
        };
        let found = match self.shape() {
            Shape::Object(object) => {
                let name = index.downcast_ref::<CelString>().ok_or_else(wrong)?;
                object.get(name).ok_or_else(|| ExecutionError::no_such_key(name))?
            }
            Shape::List(items) => {
                let at = position(index).ok_or_else(wrong)?;
                items.get(at).ok_or_else(|| ExecutionError::IndexOutOfBounds(cel::Value::Null))?
            }
        };
        Ok(CowVal::Borrowed(found.as_val()))
    }

    fn steal<'v>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

/// The place in a list that a number means; a place that no list has for a negative one.
fn position(index: &dyn Val) -> Option<usize> {
    if let Some(int) = index.downcast_ref::<CelInt>() {
        return Some(usize::try_from(*int.inner()).unwrap_or(usize::MAX));
    }
    index.downcast_ref::<CelUInt>().map(|uint| usize::try_from(*uint.inner()).unwrap_or(usize::MAX))
}

impl Iterable for Node {
    fn iter<'b, 'v>(&'b self) -> Box<dyn Lender<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        match self.shape() {
            Shape::List(items) => Box::new(Elements(items.iter())),
            Shape::Object(object) => Box::new(Names(object.members.iter())),
        }
    }
}

/// A list's elements.
struct Elements<'b>(std::slice::Iter<'b, Json>);

impl<'b, 'v> Lender<'b, 'v> for Elements<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|item| item.as_val() as &(dyn Val + 'v))
    }
}

/// An object's names, in order.
struct Names<'b>(std::slice::Iter<'b, Member>);

impl<'b, 'v> Lender<'b, 'v> for Names<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|member| &member.name as &(dyn Val + 'v))
    }
}

impl Sizer for Node {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.len()).unwrap_or(i64::MAX))
    }
}

impl Zeroer for Node {
    fn is_zero_value(&self) -> bool {
        self.len() == 0
    }
}

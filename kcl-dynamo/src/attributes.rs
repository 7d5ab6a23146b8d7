//! Reads attributes of an item by name and type; what is wrong is told with the attribute's name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

/// An item as the SDK has it.
#[expect(clippy::disallowed_types, reason = "the SDK's type; it is never iterated unsorted")]
pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

/// What is wrong with an item: names the attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(String);

impl Problem {
    /// The attribute is not there.
    pub(crate) fn missing(name: &str) -> Self {
        Self(format!("attribute {name:?} is missing"))
    }

    /// The attribute has the right type and a value that it cannot have.
    pub(crate) fn value(name: &str, found: &str, wanted: &str) -> Self {
        let found: String = found.chars().take(80).collect();
        Self(format!("attribute {name:?} is {found:?}, not {wanted}"))
    }

    fn kind(name: &str, found: &AttributeValue, wanted: &str) -> Self {
        Self(format!("attribute {name:?} is {}, not {wanted}", kind_of(found)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An item, read attribute by attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a Item);

impl<'a> Attributes<'a> {
    /// Whether the attribute is there, whatever it is.
    pub(crate) fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A text (`S`).
    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(other) => Err(Problem::kind(name, other, "a text")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(self, name: &str) -> Result<&'a str, Problem> {
        self.text(name)?.ok_or_else(|| Problem::missing(name))
    }

    /// A whole number (`N`).
    pub(crate) fn number<T: FromStr>(self, name: &str) -> Result<Option<T>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(digits)) => match digits.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Problem::value(name, digits, "a whole number in range")),
            },
            Some(other) => Err(Problem::kind(name, other, "a number")),
        }
    }

    /// A whole number that must be there.
    pub(crate) fn required_number<T: FromStr>(self, name: &str) -> Result<T, Problem> {
        self.number(name)?.ok_or_else(|| Problem::missing(name))
    }

    /// A set of texts (`SS`); empty if it is not there, for a set is never stored empty.
    pub(crate) fn texts(self, name: &str) -> Result<&'a [String], Problem> {
        match self.0.get(name) {
            None => Ok(&[]),
            Some(AttributeValue::Ss(texts)) => Ok(texts),
            Some(other) => Err(Problem::kind(name, other, "a set of texts")),
        }
    }

    /// Bytes (`B`).
    pub(crate) fn bytes(self, name: &str) -> Result<Option<&'a Blob>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(bytes)) => Ok(Some(bytes)),
            Some(other) => Err(Problem::kind(name, other, "bytes")),
        }
    }

    /// A truth value (`BOOL`); false if it is not there.
    pub(crate) fn flag(self, name: &str) -> Result<bool, Problem> {
        match self.0.get(name) {
            None => Ok(false),
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Problem::kind(name, other, "a truth value")),
        }
    }
}

/// A text attribute.
pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(crate) fn number(number: impl fmt::Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// What the item takes up in the table, by and large: names and values.
///
/// Source: DynamoDB developer guide, "DynamoDB item sizes and formats".
pub(crate) fn size_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK hides its last variant")]
fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(digits) => digits.len() / 2 + 1,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::Ss(texts) => texts.iter().map(String::len).sum(),
        AttributeValue::Ns(digits) => digits.iter().map(|digits| digits.len() / 2 + 1).sum(),
        AttributeValue::Bs(blobs) => blobs.iter().map(|bytes| bytes.as_ref().len()).sum(),
        AttributeValue::L(values) => {
            3 + values.iter().map(|value| 1 + value_bytes(value)).sum::<usize>()
        }
        AttributeValue::M(map) => 3 + map.len() + size_bytes(map),
        _ => 1,
    }
}

/// The item as a text that differs whenever the item does.
pub(crate) fn fingerprint(item: &Item) -> String {
    Printed(item).to_string()
}

struct Printed<T>(T);

impl fmt::Display for Printed<&Item> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut attributes: Vec<_> = self.0.iter().collect();
        attributes.sort_unstable_by_key(|(name, _)| *name);
        f.write_str("{")?;
        for (name, value) in attributes {
            write!(f, "{name:?}:{},", Printed(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Printed<&AttributeValue> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others print themselves in order")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AttributeValue::M(map) => Printed(map).fmt(f),
            AttributeValue::L(values) => {
                f.write_str("[")?;
                for value in values {
                    write!(f, "{},", Printed(value))?;
                }
                f.write_str("]")
            }
            AttributeValue::Ss(texts) => {
                // A set has no order: two reads may name its members differently.
                write!(f, "{:?}", texts.iter().collect::<BTreeSet<_>>())
            }
            plain => write!(f, "{plain:?}"),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK hides its last variant")]
fn kind_of(value: &AttributeValue) -> &'static str {
    match value {
        AttributeValue::S(_) => "a text",
        AttributeValue::N(_) => "a number",
        AttributeValue::B(_) => "bytes",
        AttributeValue::Ss(_) => "a set of texts",
        AttributeValue::Ns(_) => "a set of numbers",
        AttributeValue::Bs(_) => "a set of bytes",
        AttributeValue::L(_) => "a list",
        AttributeValue::M(_) => "a map",
        AttributeValue::Bool(_) => "a truth value",
        AttributeValue::Null(_) => "null",
        _ => "of an unknown type",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, value: AttributeValue) -> Item {
        Item::from([(name.to_owned(), value)])
    }

    #[test]
    fn a_problem_names_the_attribute_and_both_types() {
        let found = item("leaseCounter", text("7"));
        let problem = Attributes(&found).required_number::<u64>("leaseCounter").unwrap_err();
        assert_eq!(problem.to_string(), "attribute \"leaseCounter\" is a text, not a number");
        let problem = Attributes(&found).required_text("checkpoint").unwrap_err();
        assert_eq!(problem.to_string(), "attribute \"checkpoint\" is missing");
        let found = item("leaseCounter", number("1.5"));
        let problem = Attributes(&found).number::<u64>("leaseCounter").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "attribute \"leaseCounter\" is \"1.5\", not a whole number in range"
        );
    }

    #[test]
    fn a_fingerprint_depends_on_the_values_and_on_no_order() {
        let stats = |names: [&str; 2], cpu: &str| {
            let inner = names.map(|name| (name.to_owned(), AttributeValue::L(vec![number(cpu)])));
            item("sts", AttributeValue::M(Item::from(inner)))
        };
        assert_eq!(fingerprint(&stats(["C", "M"], "1")), fingerprint(&stats(["M", "C"], "1")));
        assert_ne!(fingerprint(&stats(["C", "M"], "1")), fingerprint(&stats(["C", "M"], "2")));
        let set = |texts: [&str; 2]| item("s", AttributeValue::Ss(texts.map(String::from).into()));
        assert_eq!(fingerprint(&set(["a", "b"])), fingerprint(&set(["b", "a"])));
    }
}

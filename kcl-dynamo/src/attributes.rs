//! Reads attributes of an item by name and type; errors name the attribute.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

/// An item of the SDK.
#[expect(clippy::disallowed_types, reason = "the SDK's type; it is never iterated unsorted")]
pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

/// Why an item is unreadable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(String);

impl Problem {
    /// The attribute is missing.
    pub(crate) fn missing(name: &str) -> Self {
        Self(format!("attribute {name:?} is missing"))
    }

    /// The attribute has the right type and an invalid value.
    pub(crate) fn value(name: &str, found: &str, expected: &str) -> Self {
        let found: String = found.chars().take(80).collect();
        Self(format!("attribute {name:?} is {found:?}, not {expected}"))
    }

    fn kind(name: &str, found: &AttributeValue, expected: &str) -> Self {
        Self(format!("attribute {name:?} is {}, not {expected}", kind_of(found)))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Typed access to the attributes of an item.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a Item);

impl<'a> Attributes<'a> {
    /// Returns whether the attribute exists, of any type.
    pub(crate) fn has(self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns a string (`S`); `None` if it is missing.
    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(other) => Err(Problem::kind(name, other, "a string")),
        }
    }

    /// Returns a string; an error if it is missing.
    pub(crate) fn required_text(self, name: &str) -> Result<&'a str, Problem> {
        self.text(name)?.ok_or_else(|| Problem::missing(name))
    }

    /// Returns an integer (`N`); `None` if it is missing.
    pub(crate) fn number<T: FromStr>(self, name: &str) -> Result<Option<T>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::N(digits)) => match digits.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Problem::value(name, digits, "an integer in range")),
            },
            Some(other) => Err(Problem::kind(name, other, "a number")),
        }
    }

    /// Returns an integer; an error if it is missing.
    pub(crate) fn required_number<T: FromStr>(self, name: &str) -> Result<T, Problem> {
        self.number(name)?.ok_or_else(|| Problem::missing(name))
    }

    /// Returns a set of strings (`SS`). A missing one is empty, because DynamoDB stores no empty
    /// set.
    pub(crate) fn texts(self, name: &str) -> Result<&'a [String], Problem> {
        match self.0.get(name) {
            None => Ok(&[]),
            Some(AttributeValue::Ss(texts)) => Ok(texts),
            Some(other) => Err(Problem::kind(name, other, "a set of strings")),
        }
    }

    /// Returns bytes (`B`); `None` if they are missing.
    pub(crate) fn bytes(self, name: &str) -> Result<Option<&'a Blob>, Problem> {
        match self.0.get(name) {
            None => Ok(None),
            Some(AttributeValue::B(bytes)) => Ok(Some(bytes)),
            Some(other) => Err(Problem::kind(name, other, "bytes")),
        }
    }

    /// Returns a boolean (`BOOL`); `false` if it is missing.
    pub(crate) fn flag(self, name: &str) -> Result<bool, Problem> {
        match self.0.get(name) {
            None => Ok(false),
            Some(AttributeValue::Bool(flag)) => Ok(*flag),
            Some(other) => Err(Problem::kind(name, other, "a boolean")),
        }
    }
}

/// Returns a string attribute.
pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// Returns a number attribute.
pub(crate) fn number(number: impl fmt::Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Estimates the size of an item in the table: its names and values.
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

/// Returns a string that is equal for two items exactly if the items are equal.
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
                // A set has no order: two reads may list its members differently.
                write!(f, "{:?}", texts.iter().collect::<BTreeSet<_>>())
            }
            plain => write!(f, "{plain:?}"),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the SDK hides its last variant")]
fn kind_of(value: &AttributeValue) -> &'static str {
    match value {
        AttributeValue::S(_) => "a string",
        AttributeValue::N(_) => "a number",
        AttributeValue::B(_) => "bytes",
        AttributeValue::Ss(_) => "a set of strings",
        AttributeValue::Ns(_) => "a set of numbers",
        AttributeValue::Bs(_) => "a set of bytes",
        AttributeValue::L(_) => "a list",
        AttributeValue::M(_) => "a map",
        AttributeValue::Bool(_) => "a boolean",
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
    fn problem_names_attribute_and_both_types() {
        let found = item("leaseCounter", text("7"));
        let problem = Attributes(&found).required_number::<u64>("leaseCounter").unwrap_err();
        assert_eq!(problem.to_string(), "attribute \"leaseCounter\" is a string, not a number");
        let problem = Attributes(&found).required_text("checkpoint").unwrap_err();
        assert_eq!(problem.to_string(), "attribute \"checkpoint\" is missing");
        let found = item("leaseCounter", number("1.5"));
        let problem = Attributes(&found).number::<u64>("leaseCounter").unwrap_err();
        assert_eq!(
            problem.to_string(),
            "attribute \"leaseCounter\" is \"1.5\", not an integer in range"
        );
    }

    #[test]
    fn fingerprint_ignores_order() {
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

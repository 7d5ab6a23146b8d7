//! An error reply in CBOR → the JSON that the SDK reads, so that one table classifies both.

use serde_json::Value;

use super::cbor::Cursor;
use crate::error::Unreadable;

/// Returns the code and the message of an error reply as JSON.
pub(super) fn to_json(reply: &[u8]) -> Result<String, Unreadable> {
    let mut at = Cursor::new(reply);
    let (mut code, mut message) = (None, None);
    let mut members = at.map()?.ok_or(Unreadable::new("an error that is null"))?;
    while at.has_next(&mut members) {
        match at.name()? {
            b"__type" => code = at.text()?,
            b"message" | b"Message" => message = at.text()?,
            _ => at.skip()?,
        }
    }
    at.end()?;
    let members = [("__type", code), ("message", message)];
    let members =
        members.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    Ok(Value::Object(members.collect()).to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn written(error: &Value) -> Vec<u8> {
        let mut message = Vec::new();
        ciborium::into_writer(error, &mut message).unwrap();
        message
    }

    #[test]
    fn bytes_of_the_emulator_are_read() {
        let reply = b"\xa2\x66__type\x78\x19ResourceNotFoundException\x67message\x62no";
        let expected = r#"{"__type":"ResourceNotFoundException","message":"no"}"#;
        assert_eq!(to_json(reply).unwrap(), expected);
    }

    #[test]
    fn other_members_and_missing_ones_are_passed_over() {
        let error = json!({ "Message": "so it is", "request": { "id": [1, 2] }, "message": null });
        assert_eq!(to_json(&written(&error)).unwrap(), "{}");
        assert!(to_json(b"<html>").is_err());
        assert!(to_json(b"").is_err());
    }

    proptest! {
        #[test]
        fn any_message_is_shown(code in any::<String>(), message in any::<String>()) {
            let error = json!({ "__type": code, "message": message });
            let shown = to_json(&written(&error)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), error);
        }
    }
}

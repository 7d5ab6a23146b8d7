//! A writer of CBOR for tests, in every form that the encoding allows.

/// A value to write.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Unsigned(u64),
    /// Seconds.
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
}

/// Writes values. Each choice of a form takes the next byte of `choices`, and the first form once
/// there is none.
#[derive(Debug)]
pub(super) struct Writer {
    out: Vec<u8>,
    choices: std::vec::IntoIter<u8>,
}

impl Writer {
    /// Writes one value.
    pub(super) fn write(value: &Value, choices: Vec<u8>) -> Vec<u8> {
        let mut writer = Self { out: Vec::new(), choices: choices.into_iter() };
        writer.value(value);
        writer.out
    }

    /// Chooses one of `forms` forms.
    fn choose(&mut self, forms: u8) -> u8 {
        self.choices.next().unwrap_or(0) % forms
    }

    fn value(&mut self, value: &Value) {
        if self.choose(5) == 1 {
            let tag = self.choose(3);
            self.out
                .extend_from_slice([&[0xc1][..], b"\xd8\x20", b"\xd9\xd9\xf7"][usize::from(tag)]);
        }
        match value {
            Value::Null => {
                let null = [0xf6, 0xf7][usize::from(self.choose(2))];
                self.out.push(null);
            }
            Value::Unsigned(value) => self.head(0, *value),
            Value::Float(seconds) => {
                self.out.push(0xfb);
                self.out.extend(seconds.to_bits().to_be_bytes());
            }
            Value::Text(text) => self.run(3, text.as_bytes()),
            Value::Bytes(bytes) => self.run(2, bytes),
            Value::Array(items) => {
                let is_open = self.begin(4, items.len());
                items.iter().for_each(|item| self.value(item));
                self.end(is_open);
            }
            Value::Map(members) => self.map(members.clone()),
        }
    }

    /// Writes members in any order, with unknown ones between them.
    fn map(&mut self, mut members: Vec<(&'static str, Value)>) {
        let by = usize::from(self.choose(u8::try_from(members.len().max(1)).unwrap()));
        members.rotate_left(by);
        if self.choose(2) == 1 {
            members.reverse();
        }
        let unknown = match self.choose(6) {
            1 => Some(Value::Bytes(vec![0xff; 3])),
            2 => Some(Value::Array(vec![Value::Null, Value::Map(vec![("Records", Value::Null)])])),
            3 => Some(Value::Float(0.5)),
            _ => None,
        };
        members.extend(unknown.map(|value| ("EncryptionType", value)));
        let is_open = self.begin(5, members.len());
        for (name, value) in &members {
            self.run(3, name.as_bytes());
            self.value(value);
        }
        self.end(is_open);
    }

    /// Begins an array or a map, and returns whether it ends with a break.
    fn begin(&mut self, major: u8, count: usize) -> bool {
        let is_open = self.choose(2) == 1;
        if is_open {
            self.out.push(major << 5 | 31);
        } else {
            self.head(major, u64::try_from(count).unwrap());
        }
        is_open
    }

    fn end(&mut self, is_open: bool) {
        if is_open {
            self.out.push(0xff);
        }
    }

    fn run(&mut self, major: u8, bytes: &[u8]) {
        self.head(major, u64::try_from(bytes.len()).unwrap());
        self.out.extend(bytes);
    }

    /// Writes a head in any width that holds its argument.
    fn head(&mut self, major: u8, argument: u64) {
        let least = match argument {
            0..24 => 0,
            24..0x100 => 1,
            0x100..0x1_0000 => 2,
            0x1_0000..0x1_0000_0000 => 3,
            _ => 4,
        };
        let width = least + self.choose(5 - least);
        let bytes = argument.to_be_bytes();
        if width == 0 {
            self.out.push(major << 5 | bytes[7]);
        } else {
            self.out.push(major << 5 | (23 + width));
            self.out.extend(&bytes[8 - (1 << (width - 1))..]);
        }
    }
}

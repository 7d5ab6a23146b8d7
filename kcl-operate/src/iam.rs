//! Which actions need which permissions: one table, from which policies are made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Who gets a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "each role has a column of the table")]
pub enum Role {
    /// A worker of this library.
    Worker,
    /// Who looks at a fleet: `kclctl describe`, `lag`, `why` and `watch`.
    Viewer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 2] = [Self::Worker, Self::Viewer];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Worker => "worker",
            Self::Viewer => "viewer",
        })
    }
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|role| role.to_string() == text);
        found.ok_or_else(|| ParseRoleError { text: text.to_owned() })
    }
}

/// A text is not a [`Role`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} gets no policy: use worker or viewer")]
pub struct ParseRoleError {
    text: String,
}

/// What an action is needed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "each is a statement of a policy")]
pub enum On {
    /// The stream.
    Stream,
    /// The lease table.
    Table,
    /// The stream that takes dead letters.
    DeadLetter,
    /// The key that encrypts the stream.
    Key,
}

/// What an action is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "each is an option of a policy")]
pub enum Feature {
    /// What every worker, or every viewer, does.
    Always,
    /// The worker creates its table.
    Create,
    /// It puts tags on it.
    Tags,
    /// It turns on point-in-time recovery.
    Recovery,
    /// It sets records aside in a stream.
    DeadLetters,
    /// The stream is encrypted with a key of the account.
    Encrypted,
}

/// One permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// Who needs it.
    pub role: Role,
    /// For what.
    pub feature: Feature,
    /// On what.
    pub on: On,
    /// The action, such as `dynamodb:Scan`.
    pub action: &'static str,
}

const fn worker(feature: Feature, on: On, action: &'static str) -> Need {
    Need { role: Role::Worker, feature, on, action }
}

const fn viewer(on: On, action: &'static str) -> Need {
    Need { role: Role::Viewer, feature: Feature::Always, on, action }
}

/// Every permission that this library and `kclctl` need.
pub const NEEDS: [Need; 20] = [
    worker(Feature::Always, On::Stream, "kinesis:DescribeStreamSummary"),
    worker(Feature::Always, On::Stream, "kinesis:GetRecords"),
    worker(Feature::Always, On::Stream, "kinesis:GetShardIterator"),
    worker(Feature::Always, On::Stream, "kinesis:ListShards"),
    worker(Feature::Always, On::Table, "dynamodb:BatchGetItem"),
    worker(Feature::Always, On::Table, "dynamodb:DeleteItem"),
    worker(Feature::Always, On::Table, "dynamodb:DescribeTable"),
    worker(Feature::Always, On::Table, "dynamodb:GetItem"),
    worker(Feature::Always, On::Table, "dynamodb:PutItem"),
    worker(Feature::Always, On::Table, "dynamodb:Scan"),
    worker(Feature::Always, On::Table, "dynamodb:UpdateItem"),
    worker(Feature::Create, On::Table, "dynamodb:CreateTable"),
    worker(Feature::Tags, On::Table, "dynamodb:TagResource"),
    worker(Feature::Recovery, On::Table, "dynamodb:UpdateContinuousBackups"),
    worker(Feature::DeadLetters, On::DeadLetter, "kinesis:PutRecord"),
    worker(Feature::Encrypted, On::Key, "kms:Decrypt"),
    viewer(On::Stream, "kinesis:DescribeStreamSummary"),
    viewer(On::Stream, "kinesis:ListShards"),
    viewer(On::Table, "dynamodb:DescribeTable"),
    viewer(On::Table, "dynamodb:Scan"),
];

/// Whom a policy is for, and on what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Wanted {
    /// Who gets it.
    pub role: Role,
    /// What it is for, besides what is always needed.
    pub features: Vec<Feature>,
    /// The ARNs, or names with asterisks.
    pub resources: BTreeMap<On, String>,
}

impl Wanted {
    /// The policy of a role on this stream and this table, each a name or an ARN.
    #[must_use]
    pub fn new(role: Role, stream: &str, table: &str) -> Self {
        let resources = [
            (On::Stream, arn("kinesis", "stream", stream)),
            (On::Table, arn("dynamodb", "table", table)),
        ];
        Self { role, features: vec![Feature::Always], resources: resources.into() }
    }

    /// Adds a feature.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Self {
        self.features.push(feature);
        self
    }

    /// Adds a feature that needs something on this ARN.
    #[must_use]
    pub fn with_on(mut self, feature: Feature, on: On, arn: String) -> Self {
        self.resources.insert(on, arn);
        self.with(feature)
    }

    /// Returns the actions, by what they are needed on.
    #[must_use]
    pub fn actions(&self) -> BTreeMap<On, Vec<&'static str>> {
        let mut actions: BTreeMap<On, Vec<&str>> = BTreeMap::new();
        let wanted = |need: &&Need| need.role == self.role && self.features.contains(&need.feature);
        for need in NEEDS.iter().filter(wanted) {
            actions.entry(need.on).or_default().push(need.action);
        }
        actions
    }

    /// Returns the policy as JSON.
    #[must_use]
    pub fn policy(&self) -> String {
        let statements = self.actions().into_iter().filter_map(|(on, mut actions)| {
            actions.sort_unstable();
            let sid = match on {
                On::Stream => "KclStream",
                On::Table => "KclTable",
                On::DeadLetter => "KclDeadLetter",
                On::Key => "KclKey",
            };
            let actions: Vec<_> = actions.iter().map(|it| format!("        \"{it}\"")).collect();
            let (actions, resource) = (actions.join(",\n"), self.resources.get(&on)?);
            Some(format!(
                "    {{\n      \"Sid\": \"{sid}\",\n      \"Effect\": \"Allow\",\n      \
                 \"Action\": [\n{actions}\n      ],\n      \"Resource\": \"{resource}\"\n    }}"
            ))
        });
        let statements: Vec<_> = statements.collect();
        let statements = statements.join(",\n");
        format!("{{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n{statements}\n  ]\n}}\n")
    }
}

fn arn(service: &str, kind: &str, name: &str) -> String {
    if name.starts_with("arn:") {
        name.to_owned()
    } else {
        format!("arn:aws:{service}:*:*:{kind}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_has_what_the_features_need() {
        let viewer = Wanted::new(Role::Viewer, "orders", "orders-consumer");
        let actions: Vec<_> = viewer.actions().into_values().flatten().collect();
        assert_eq!(actions.len(), 4);
        assert!(viewer.policy().contains("\"arn:aws:dynamodb:*:*:table/orders-consumer\""));
        let worker = Wanted::new(Role::Worker, "orders", "orders-consumer");
        assert!(!worker.policy().contains("CreateTable"));
        let worker = worker.with(Feature::Create).with_on(
            Feature::Encrypted,
            On::Key,
            "arn:aws:kms:eu-west-1:123456789012:key/1".to_owned(),
        );
        assert!(worker.policy().contains("CreateTable"));
        assert!(worker.policy().contains("key/1"));
        assert!(!worker.policy().contains("PutRecord"));
    }

    #[test]
    fn no_permission_is_named_twice() {
        for (index, need) in NEEDS.iter().enumerate() {
            assert!(!NEEDS[..index].contains(need), "{need:?}");
        }
        assert_eq!("viewer".parse(), Ok(Role::Viewer));
        assert!("admin".parse::<Role>().unwrap_err().to_string().contains("worker or viewer"));
    }
}

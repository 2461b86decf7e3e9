//! Secrets and variables, put where resources refer to them.
//!
//! Of the secret stores there are those that need no service: a file and the environment. In Kubernetes the operator
//! has read the secrets already and sends them as base64.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};
use go_text::io_words;
use serde_json::Value;
use thiserror::Error;

use crate::component::Component;
use crate::item::Item;
use crate::manifest::Resource;
use crate::yaml::MAX_FILE;

/// The store that resources in Kubernetes refer to when they name none.
const KUBERNETES: &str = "kubernetes";

/// A resource whose values may be references.
pub trait References: Resource {
    /// Its values.
    fn items_mut(&mut self) -> Vec<&mut Item>;
}

/// A secret store that cannot be set up.
#[derive(Debug, Error)]
pub enum SecretStoreError {
    /// `secretsFile` is not given.
    #[error("missing local secrets file in metadata")]
    NoFile,
    /// The file cannot be read.
    #[error("open {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// What is in the file is no JSON object.
    #[error("{}: {reason}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A secret store that needs no service. Its `Debug` shows no secret.
#[derive(Clone)]
pub enum SecretStore {
    /// `secretstores.local.file`: secrets by name, each with its fields.
    File(HashMap<String, HashMap<String, String>>),
    /// `secretstores.local.env`: variables whose names begin like this.
    Environment {
        /// What stands before the name of a secret.
        prefix: String,
    },
}

impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(secrets) => write!(f, "File({} secrets)", secrets.len()),
            Self::Environment { prefix } => write!(f, "Environment({prefix:?})"),
        }
    }
}

impl SecretStore {
    /// Sets up the store of a component; nothing if it is of another type.
    pub fn of(component: &Component) -> Result<Option<Self>, SecretStoreError> {
        if !matches!(component.version.to_lowercase().as_str(), "" | "v0" | "v1") {
            return Ok(None);
        }
        let text = |name| component.value(name).unwrap_or_default();
        match component.kind.to_lowercase().as_str() {
            "secretstores.local.file" => {
                let file = text("secretsFile");
                if file.is_empty() {
                    return Err(SecretStoreError::NoFile);
                }
                let separator = match text("nestedSeparator") {
                    "" => ":",
                    separator => separator,
                };
                let is_multi = go_text::is_truthy(text("multiValued"));
                read(Path::new(file), separator, is_multi).map(|secrets| Some(Self::File(secrets)))
            }
            "secretstores.local.env" => Ok(Some(Self::Environment {
                prefix: text("prefix").to_owned(),
            })),
            _ => Ok(None),
        }
    }

    /// A field of a secret. What the store does not have in a secret that it has is empty.
    fn get(&self, name: &str, key: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        match self {
            Self::File(secrets) => {
                let secret = secrets
                    .get(name)
                    .ok_or_else(|| format!("secret {name} not found"))?;
                Ok(secret.get(key).cloned().unwrap_or_default())
            }
            Self::Environment { prefix } => {
                let variable = format!("{prefix}{name}");
                let upper = variable.to_uppercase();
                if upper == "APP_API_TOKEN" || upper.starts_with("DAPR_") {
                    return Err(format!("the variable {variable} is not for secrets"));
                }
                // The secret has one field, of its own name.
                let value = lookup(&variable).filter(|_| key == name);
                Ok(value.unwrap_or_default())
            }
        }
    }
}

type Secrets = HashMap<String, HashMap<String, String>>;

fn read(path: &Path, separator: &str, is_multi: bool) -> Result<Secrets, SecretStoreError> {
    let unreadable = |reason: String| SecretStoreError::File {
        path: path.to_owned(),
        reason,
    };
    let length = fs::metadata(path)
        .map_err(|error| unreadable(io_words(&error)))?
        .len();
    if length > MAX_FILE {
        return Err(unreadable(format!(
            "the file has {length} bytes, at most {MAX_FILE} are read"
        )));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(io_words(&error)))?;
    let unusable = |reason: String| SecretStoreError::Content {
        path: path.to_owned(),
        reason,
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    let Value::Object(secrets) = value else {
        return Err(unusable("the JSON is no object".to_owned()));
    };
    let mut read = Secrets::new();
    for (name, value) in secrets {
        match value {
            Value::Object(_) if is_multi => {
                let mut fields = Vec::new();
                flatten(String::new(), &value, separator, &mut fields);
                read.insert(name, fields.into_iter().collect());
            }
            // What is no text and no map is no secret with several fields.
            Value::Array(_) | Value::Number(_) | Value::Bool(_) | Value::Null if is_multi => {}
            value => {
                let mut leaves = Vec::new();
                flatten(name, &value, separator, &mut leaves);
                for (name, value) in leaves {
                    let fields = HashMap::from([(name.clone(), value)]);
                    read.entry(name).or_insert(fields);
                }
            }
        }
    }
    Ok(read)
}

/// The leaves of a value, named by the way to them.
fn flatten(name: String, value: &Value, separator: &str, into: &mut Vec<(String, String)>) {
    let below = |key: &str| {
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}{separator}{key}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(below(key), value, separator, into);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(below(&index.to_string()), value, separator, into);
            }
        }
        Value::String(text) => into.push((name, text.clone())),
        Value::Null => into.push((name, String::new())),
        other => into.push((name, other.to_string())),
    }
}

/// A value that cannot be had; its text is a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The position of the value among those of the resource.
    pub index: usize,
    /// What is not there, and for whom.
    pub text: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where references of resources are looked up.
#[derive(Debug, Default)]
pub struct SecretSource {
    /// The stores by the names of their components.
    pub stores: HashMap<String, SecretStore>,
    /// Whether resources come from the operator, which has read the secrets of Kubernetes already.
    pub is_kubernetes: bool,
    /// `DAPR_ENV_KEYS`: which variables may be referred to; empty for all but those of sidecars.
    pub allowed_variables: String,
}

impl SecretSource {
    /// Puts values in the place of references, and tells what cannot be had. `lookup` finds environment variables.
    pub fn resolve<R: References>(
        &self,
        resource: &mut R,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Vec<Unresolved> {
        let head = resource.head();
        let (kind, name) = (R::KIND, head.name.clone());
        let store_name = match head.secret_store.as_str() {
            "" if self.is_kubernetes => KUBERNETES,
            store => store,
        }
        .to_owned();
        let mut unresolved = Vec::new();
        for (index, item) in resource.items_mut().into_iter().enumerate() {
            let mut lost = |text| unresolved.push(Unresolved { index, text });
            if item.value.is_none() && !item.variable.is_empty() {
                match item.resolved(&self.allowed_variables, &lookup) {
                    Ok(value) => item.value = Some(value),
                    Err(variable) => lost(format!(
                        "{kind} {name} references an env variable that isn't allowed: {variable}"
                    )),
                }
                continue;
            }
            if item.secret.name.is_empty() {
                continue;
            }
            if self.is_kubernetes && store_name == KUBERNETES {
                match decoded(item.value.as_deref()) {
                    Ok(value) => item.value = Some(value),
                    Err(reason) => lost(format!(
                        "Error decoding secret: {kind} {name}, {}: {reason}",
                        item.name
                    )),
                }
                continue;
            }
            let Some(store) = self.stores.get(&store_name) else {
                lost(format!(
                    "{kind} {name} references a secret store that isn't loaded: {store_name}"
                ));
                // The other references are to the same store.
                break;
            };
            let secret = &item.secret;
            let key = if secret.key.is_empty() {
                &secret.name
            } else {
                &secret.key
            };
            match store.get(&secret.name, key, &lookup) {
                Ok(value) if value.is_empty() => {}
                Ok(value) => item.value = Some(value),
                Err(reason) => lost(format!("Error getting secret: {kind} {name}: {reason}")),
            }
        }
        unresolved
    }
}

fn decoded(value: Option<&str>) -> Result<String, String> {
    let bytes = STANDARD.decode(value.unwrap_or_default()).map_err(|error| {
        let place = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(length) => length / 4 * 4,
            DecodeError::InvalidPadding => value.map_or(0, |text| text.len() / 4 * 4),
        };
        format!("illegal base64 data at input byte {place}")
    })?;
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}

#[cfg(test)]
mod tests;

//! What is wrong with resources that can be read: names that lead nowhere, values that cannot be used, what nobody uses.
//!
//! It is asked of those who use the resources in a sidecar: each compiles them as it does at a start, and its mistakes are
//! told at the places of their fields.

mod components;
mod configurations;
mod endpoints;
mod names;
mod policies;
mod types;

use std::collections::BTreeSet;

use resources::{Component, Content, Finding, Head, HttpEndpoint, Inspected, Resiliency, Resource, Severity};

use super::args::Arguments;
use super::files::{Checked, Role};
use super::report::FileFinding;

/// A resource, and where it stands.
struct PlacedResource<'a, R> {
    file: &'a str,
    document: &'a Inspected,
    resource: &'a R,
}

// Derived, it would want the same of the resource.
impl<R> Clone for PlacedResource<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for PlacedResource<'_, R> {}

/// All that is checked together.
struct World<'a> {
    app_id: &'a str,
    namespace: &'a str,
    is_grpc: bool,
    is_kubernetes: bool,
    /// The apps that there are, if anybody said.
    apps: &'a [String],
    components: Vec<PlacedResource<'a, Component>>,
    endpoints: Vec<PlacedResource<'a, HttpEndpoint>>,
    policies: Vec<PlacedResource<'a, Resiliency>>,
    /// Each a configuration: the files that are laid one over the other.
    configurations: Vec<Layers<'a>>,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    told: Vec<FileFinding>,
}

/// The files of one configuration.
type Layers<'a> = Vec<(&'a str, &'a Inspected)>;

/// Judges all files together.
pub fn judge(
    arguments: &Arguments,
    files: &[Checked],
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Vec<FileFinding> {
    let namespace = match &arguments.namespace {
        Some(namespace) => namespace.clone(),
        None => lookup("NAMESPACE").unwrap_or_default(),
    };
    let mut world = World {
        app_id: &arguments.app_id,
        namespace: &namespace,
        is_grpc: arguments.is_grpc,
        is_kubernetes: arguments.is_kubernetes,
        apps: &arguments.apps,
        components: Vec::new(),
        endpoints: Vec::new(),
        policies: Vec::new(),
        configurations: Vec::new(),
        lookup,
        told: Vec::new(),
    };
    world.sort(files);
    names::judge(&mut world);
    let stores = components::judge(&mut world);
    endpoints::judge(&mut world, stores);
    policies::judge(&mut world);
    configurations::judge(&mut world);
    world.told
}

impl<'a> World<'a> {
    fn sort(&mut self, files: &'a [Checked]) {
        let mut layers = Layers::new();
        for Checked {
            name,
            role,
            inspection,
        } in files
        {
            for document in &inspection.documents {
                match &document.content {
                    Content::Component(resource) => {
                        let found = PlacedResource {
                            file: name,
                            document,
                            resource,
                        };
                        self.components.push(found);
                    }
                    Content::HttpEndpoint(resource) => {
                        let found = PlacedResource {
                            file: name,
                            document,
                            resource: &**resource,
                        };
                        self.endpoints.push(found);
                    }
                    Content::Resiliency(resource) => {
                        let found = PlacedResource {
                            file: name,
                            document,
                            resource: &**resource,
                        };
                        self.policies.push(found);
                    }
                    Content::Configuration(_) if *role == Role::Configuration => {
                        layers.push((name, document));
                    }
                    Content::Configuration(_) => {
                        if *role == Role::Folder {
                            let text = "a configuration among the resources has no effect; name its file with --config";
                            let finding = Finding::new(Severity::Warning, "no-effect", text);
                            self.tell(name, finding.at(document.place(&["kind"])));
                        }
                        self.configurations.push(vec![(name, document)]);
                    }
                }
            }
        }
        if !layers.is_empty() {
            self.configurations.insert(0, layers);
        }
    }

    fn tell(&mut self, file: &str, finding: Finding) {
        let file = file.to_owned();
        self.told.push(FileFinding { file, finding });
    }

    /// Tells something about a field of a resource.
    fn tell_of<R>(&mut self, found: PlacedResource<'_, R>, path: &[impl AsRef<str>], finding: Finding) {
        self.tell(found.file, finding.at(found.document.place(path)));
    }

    /// Whether a resource is for the app; for any app if none is given.
    fn is_for(&self, head: &Head) -> bool {
        let is_here =
            self.namespace.is_empty() || head.namespace.is_empty() || head.namespace == self.namespace;
        is_here && self.is_in_scope(head)
    }

    fn is_in_scope(&self, head: &Head) -> bool {
        let scopes = &head.scopes;
        self.app_id.is_empty() || scopes.is_empty() || scopes.iter().any(|scope| scope == self.app_id)
    }

    /// Those of a kind that are for the app.
    fn for_app<R: Resource>(&self, all: &[PlacedResource<'a, R>]) -> Vec<PlacedResource<'a, R>> {
        let all = all.iter().copied();
        all.filter(|found| self.is_for(found.resource.head())).collect()
    }

    /// Whether there is such an app, as far as anybody said which there are. URLs and endpoints are no apps.
    fn lacks_app(&self, name: &str) -> bool {
        let is_endpoint = || {
            self.endpoints
                .iter()
                .any(|found| found.resource.head.name == name)
        };
        // An app of another namespace is written with it.
        let id = name.split_once('.').map_or(name, |(id, _)| id);
        !self.apps.is_empty()
            && !name.contains("://")
            && id != self.app_id
            && !self.apps.iter().any(|app| app == id)
            && !is_endpoint()
    }

    /// Everything that an app may call.
    fn callable(&self) -> BTreeSet<&str> {
        let endpoints = self
            .endpoints
            .iter()
            .map(|found| found.resource.head.name.as_str());
        self.apps.iter().map(String::as_str).chain(endpoints).collect()
    }
}

//! `daprd check` and `daprd schema`: what is wrong with resources is told without a sidecar.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use integration_tests::{Exit, run_daprd};
use serde_json::Value;
use tempfile::TempDir;

const HEAD: &str = "apiVersion: dapr.io/v1alpha1\n";

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn check(args: &[&str]) -> Exit {
    run_daprd(["check"].iter().chain(args)).await
}

/// The lines about a folder, without the way to it.
fn lines(exit: &Exit, folder: &TempDir) -> Vec<String> {
    let way = format!("{}/", folder.path().display());
    let lines = exit.stdout.lines();
    lines.map(|line| line.replace(&way, "")).collect()
}

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let folder = TempDir::new().unwrap();
    let secrets = write(&folder, "secrets.json", r#"{"there": "x"}"#);
    let components = format!(
        "{HEAD}kind: Component\nmetadata: {{name: store}}\nspec:\n  type: state.rediss\n  version: v1\n  metadata:\n  - \
         name: password\n    secretKeyRef: {{name: pass}}\n  - nmae: x\nauth: {{secretStore: files}}\n---\n{HEAD}kind: \
         Component\nmetadata: {{name: files}}\nspec:\n  type: secretstores.local.file\n  metadata: [{{name: secretsFile, \
         value: {secrets}}}]\n---\n{HEAD}kind: Component\nmetadata: {{name: loud}}\nspec: {{type: \
         middleware.http.uppercase, ignoreErrors: [1]}}\n"
    );
    write(&folder, "a.yaml", components);
    let endpoints = format!(
        "{HEAD}kind: HTTPEndpoint\nmetadata: {{name: web}}\nspec: {{baseUrl: 'htp://x'}}\n---\n{HEAD}kind: \
         HTTPEndpoint\nmetadata: {{name: web}}\nspec: {{baseUrl: 'http://y'}}\n---\n{HEAD}kind: Subscription\n---\n{HEAD}kind: Componnet\n"
    );
    write(&folder, "b.yaml", endpoints);
    let policies = format!(
        "{HEAD}kind: Resiliency\nmetadata: {{name: r}}\nspec:\n  policies:\n    timeouts: {{slow: 5x, fast: 1s}}\n  targets:\n    \
         apps:\n      ordrs: {{timeout: fsat}}\n      web: {{}}\n    components:\n      stoer: {{}}\n"
    );
    write(&folder, "c.yaml", policies);
    let configuration = format!(
        "{HEAD}kind: Configuration\nspec:\n  httpPipeline: {{handlers: [{{name: lod, type: middleware.http.uppercase}}]}}\n  \
         nameResolution: {{component: mnds}}\n  accessControl:\n    defaultAction: deny\n    policies:\n    - appId: orders\n      \
         namespace: default\n      trustDomain: public\n      operations:\n      - {{name: /a*, httpVerb: ['*'], action: \
         allow}}\n      - {{name: /ab, httpVerb: ['*'], action: deny}}\n    - appId: elsewhere\n  features: [{{name: \
         HotRelod, enabled: true}}]\n"
    );
    let other = TempDir::new().unwrap();
    let configuration = write(&other, "configuration", configuration);
    let path = folder.path().display().to_string();
    let args = [
        "--config",
        &configuration,
        "--resources-path",
        &path,
        "--apps=orders",
        "--app-id",
        "me",
    ];
    let exit = check(&args).await;
    assert_eq!((exit.code, exit.stderr.as_str()), (Some(1), ""));
    let way = format!("{}/", other.path().display());
    let lines: Vec<String> = lines(&exit, &folder)
        .iter()
        .map(|line| line.replace(&way, ""))
        .collect();
    assert_eq!(
        lines,
        [
            "configuration:4:30: warning[pipeline]: there is no component \"lod\": calls go on without it; did you mean \
             \"loud\"?",
            "configuration:5:20: error[name-resolution]: couldn't find name resolver mnds/v1; did you mean \"mdns\"?",
            "configuration:14:10: warning[access-control]: access control policy for app \"orders\" in namespace \
             \"default\": the operation \"/ab\" does not decide about \"/ab\", because \"/a*\" matches first",
            "configuration:15:7: error[access-control]: the policy has no namespace, the sidecar does not start",
            "configuration:15:7: error[access-control]: the policy has no trustDomain, the sidecar does not start",
            "configuration:15:7: warning[target]: there is no app \"elsewhere\"",
            "configuration:16:15: warning[feature]: Dapr has no feature \"HotRelod\"; did you mean \"HotReload\"?",
            "a.yaml:5:3: warning[component-type]: Dapr has no component of the type \"state.rediss\"; did you mean \
             \"state.redis\"?",
            "a.yaml:5:3: note[no-effect]: the component store (state.rediss/v1) is listed and does nothing: this sidecar \
             serves service invocation only",
            "a.yaml:9:5: warning[secret]: Error getting secret: Component store: secret pass not found",
            "a.yaml:10:5: warning[unknown-field]: spec.metadata.1 has no field \"nmae\"; did you mean \"name\"?",
            "a.yaml:22:12: warning[unused]: no pipeline of a configuration names the middleware \"loud\"",
            "a.yaml:23:41: error[type]: spec.ignoreErrors: expected true or false, found a list",
            "b.yaml:4:8: error[endpoint]: http endpoint web: unsupported protocol scheme \"htp\"",
            "b.yaml:8:12: error[duplicate]: duplicate definition of HTTPEndpoint name web (http://y) with existing web \
             (htp://x) at b.yaml:3:12: no endpoint at all is loaded",
            "b.yaml:12:1: note[no-effect]: a Subscription has no effect in this sidecar",
            "b.yaml:15:1: warning[kind]: \"Componnet\" is no kind of resource; did you mean \"Component\"?",
            "c.yaml:6:16: error[policy]: invalid duration \"slow\", 5x: time: unknown unit \"x\" in duration \"5x\": nothing \
             of this resource is used",
            "c.yaml:6:16: warning[unused]: no target uses the policy \"slow\" of timeouts",
            "c.yaml:6:26: warning[unused]: no target uses the policy \"fast\" of timeouts",
            "c.yaml:9:7: warning[target]: there is no app and no HTTPEndpoint \"ordrs\"; did you mean \"orders\"?",
            "c.yaml:9:15: warning[unknown-policy]: there is no policy \"fsat\", calls go without it; did you mean \
             \"fast\"?",
            "c.yaml:12:7: warning[target]: there is no component \"stoer\"; did you mean \"store\"?",
            "secrets.json: note[file]: the name does not end in .yaml or .yml, so the file is not read",
            "7 errors, 14 warnings, 3 notes in 5 files",
        ],
        "{lines:#?}"
    );
}

/// What a cluster knows is not known here: it is neither taken for empty nor for wrong.
#[tokio::test]
async fn values_of_a_cluster_are_not_judged() {
    let folder = TempDir::new().unwrap();
    for (kind, name) in [
        ("ratelimit", "maxRequestsPerSecond"),
        ("oauth2clientcredentials", "authStyle"),
    ] {
        let component = format!(
            "{HEAD}kind: Component\nmetadata: {{name: {kind}}}\nspec:\n  type: middleware.http.{kind}\n  version: v1\n  \
             metadata:\n  - name: {name}\n    secretKeyRef: {{name: a, key: b}}\n"
        );
        write(&folder, &format!("{kind}.yaml"), component);
    }
    let exit = check(&["--mode", "kubernetes", &folder.path().display().to_string()]).await;
    let errors = lines(&exit, &folder);
    let errors: Vec<_> = errors.iter().filter(|line| line.contains("error[")).collect();
    assert_eq!((exit.code, errors.len()), (Some(0), 0), "{}", exit.stdout);
}

#[tokio::test]
async fn exit_codes() {
    let folder = TempDir::new().unwrap();
    let good = write(
        &folder,
        "good.yaml",
        format!("{HEAD}kind: HTTPEndpoint\nmetadata: {{name: a}}\nspec: {{baseUrl: 'http://x'}}\n"),
    );
    let doubtful = write(&folder, "doubtful.yaml", format!("{HEAD}kind: HTTPEndpiont\n"));
    let bad = write(&folder, "bad.yaml", "a: b: c\n");
    for (args, wanted) in [
        (&[good.as_str()][..], 0),
        (&[&doubtful], 0),
        (&["--deny-warnings", &good], 0),
        (&["--deny-warnings", &doubtful], 1),
        (&[&bad], 1),
        (&[&good, "/no/such/file"], 1),
        (&["--app-id=a.b", &good], 1),
        (&[], 2),
        (&["--output=xml", &good], 2),
        (&["--no-such-option"], 2),
        (&["--help"], 0),
    ] {
        let exit = check(args).await;
        assert_eq!(
            exit.code,
            Some(wanted),
            "{args:?}: {}{}",
            exit.stdout,
            exit.stderr
        );
        // Whoever uses it wrongly reads why where mistakes are read.
        assert_eq!(exit.stdout.is_empty(), wanted == 2, "{args:?}");
        assert_eq!(exit.stderr.is_empty(), wanted != 2, "{args:?}");
    }
}

#[tokio::test]
async fn programs_read_it_too() {
    let folder = TempDir::new().unwrap();
    let file = write(
        &folder,
        "a.yaml",
        format!("{HEAD}kind: Component\nmetadata: {{name: a}}\nspec: {{tpye: x}}\n"),
    );
    let exit = check(&["--output=json", &file]).await;
    let findings: Value = serde_json::from_str(&exit.stdout).unwrap();
    let unknown = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["rule"] == "unknown-field");
    let unknown = unknown.unwrap();
    assert_eq!(
        (
            &unknown["line"],
            &unknown["column"],
            &unknown["nearest"],
            &unknown["severity"]
        ),
        (&4.into(), &8.into(), &"type".into(), &"warning".into())
    );
    let exit = check(&["--output", "sarif", &file]).await;
    let sarif: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    assert_eq!(
        run["results"].as_array().unwrap().len(),
        findings.as_array().unwrap().len()
    );
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    for result in run["results"].as_array().unwrap() {
        let index = result["ruleIndex"].as_u64().unwrap() as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
}

/// Each has its line, and none of them keeps the check from its end.
#[tokio::test]
async fn files_that_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let huge = fs::File::create(folder.path().join("huge.yaml")).unwrap();
    huge.set_len(100 << 20).unwrap();
    symlink("nowhere", folder.path().join("link.yaml")).unwrap();
    symlink("round.yaml", folder.path().join("round.yaml")).unwrap();
    symlink("/dev/zero", folder.path().join("zero.yaml")).unwrap();
    nix::unistd::mkfifo(&folder.path().join("pipe.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    write(&folder, "latin.yaml", b"a: caf\xe9\n");
    write(&folder, "wide.yaml", b"\xff\xfea\x00b");
    write(
        &folder,
        "marked.yaml",
        b"\xef\xbb\xbfkind: Other\napiVersion: x/v1\n",
    );
    write(&folder, "cycle.yaml", "a: &a {b: *a}\n");
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(",");
        laughs.push_str(
            &[
                "a",
                &level.to_string(),
                ": &a",
                &level.to_string(),
                " [",
                &items,
                "]\n",
            ]
            .concat(),
        );
    }
    write(&folder, "laughs.yaml", laughs);
    write(&folder, "deep.yaml", "[".repeat(100_000));
    let exit = check(&[&folder.path().display().to_string(), "/no/such/file"]).await;
    assert_eq!(exit.code, Some(1));
    let lines = lines(&exit, &folder);
    for wanted in [
        "cycle.yaml:1:11: error[yaml]: this is no YAML: ",
        "deep.yaml:1:",
        "folder.yaml: note[file]: folders in folders are not read; name it, too, if it is meant",
        "huge.yaml: error[file]: the file has more than 4194304 bytes, which is the most that is read",
        "latin.yaml:1:7: error[encoding]: the byte 0xe9 is no UTF-8",
        "laughs.yaml:",
        "link.yaml: error[file]: the file cannot be read: it is a link to something that is not there",
        "pipe.yaml: error[file]: the file cannot be read: it is no regular file",
        "round.yaml: error[file]: the file cannot be read: ",
        "wide.yaml: error[encoding]: the file is no text in UTF-16: byte 4",
        "zero.yaml: error[file]: the file cannot be read: it is no regular file",
        "/no/such/file: error[file]: the file cannot be read: there is none of this name",
    ] {
        let found = lines.iter().filter(|line| line.starts_with(wanted)).count();
        assert_eq!(found, 1, "{wanted}: {lines:#?}");
    }
    assert!(
        !lines.iter().any(|line| line.starts_with("marked.yaml")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn other_words_are_passed_over() {
    for args in [
        &["other", "--version"][..],
        &["--version", "check"],
        &["checks", "--version"],
        &["Check", "--version"],
    ] {
        let exit = run_daprd(args).await;
        assert_eq!((exit.code, exit.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert_eq!(exit.stdout.lines().count(), 1, "{args:?}: {}", exit.stdout);
    }
}

#[tokio::test]
async fn schemas() {
    for (args, title) in [
        (&["schema"][..], "Resources of a sidecar"),
        (&["schema", "Component"], "Component"),
        (&["schema", "httpendpoint"], "HTTPEndpoint"),
        (&["schema", "Configuration"], "Configuration"),
        (&["schema", "Resiliency"], "Resiliency"),
    ] {
        let exit = run_daprd(args).await;
        let schema: Value = serde_json::from_str(&exit.stdout).unwrap();
        assert_eq!(
            (exit.code, &schema["title"]),
            (Some(0), &title.into()),
            "{args:?}"
        );
    }
    for args in [&["schema", "Subscription"][..], &["schema", "a", "b"]] {
        let exit = run_daprd(args).await;
        assert_eq!((exit.code, exit.stdout.as_str()), (Some(2), ""), "{args:?}");
        assert!(exit.stderr.contains("Usage: daprd schema"), "{}", exit.stderr);
    }
}

/// The resources among the examples of a page.
fn examples(page: &str) -> Vec<&str> {
    let blocks = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|block| block.split("```").next());
    blocks.filter(|block| block.contains("kind: ")).collect()
}

/// Whoever copies an example from the pages has one without mistakes.
#[tokio::test]
async fn the_examples_of_the_pages_are_right() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
    let mut count = 0;
    for page in fs::read_dir(pages).unwrap() {
        let page = page.unwrap().path();
        let text = fs::read_to_string(&page).unwrap_or_default();
        for (index, example) in examples(&text).into_iter().enumerate() {
            let folder = TempDir::new().unwrap();
            let file = write(&folder, "example.yaml", example);
            let exit = check(&["--output=json", &file]).await;
            let findings: Value = serde_json::from_str(&exit.stdout).unwrap();
            // What an example needs besides is not there: secrets, variables, components of another file.
            let besides = ["variable", "secret", "pipeline", "no-effect"];
            let wrong = findings.as_array().unwrap().iter().filter(|finding| {
                let rule = finding["rule"].as_str().unwrap();
                let message = finding["message"].as_str().unwrap();
                let is_besides = ["failed to add root cert", "o such file"]
                    .iter()
                    .any(|text| message.contains(text));
                !besides.contains(&rule) && !is_besides
            });
            let wrong: Vec<_> = wrong.collect();
            assert!(
                wrong.is_empty(),
                "{}, number {index}: {wrong:#?}\n{example}",
                page.display()
            );
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}

//! Pods as Dapr's injector makes them: whatever it writes for a set of annotations starts this sidecar, and the probes pass.
//!
//! The table `data/injected.jsonl` has what Dapr 1.18's injector wrote: arguments, variables, mounts, probes and the security
//! context. Ports, addresses and paths are other ones here, and nothing else. Where this machine lets a test have namespaces,
//! each sidecar is process 1 and can write nowhere but where a pod has a volume.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use integration_tests::operator::{Operator, OperatorAnswer};
use integration_tests::sentry::Sentry;
use integration_tests::{HttpApp, PATIENCE, Protocol, TlsApp, daprd_binary, eventually, free_port};
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const TABLE: &str = include_str!("data/injected.jsonl");
/// As many pods run at once.
const AT_ONCE: usize = 4;
/// The user of Dapr's images.
const USER: u32 = 65_532;

/// Makes all read-only but the folder that is named first, and becomes the program that follows, as process 1.
const CONTAINER: &str = r#"
mount --bind "$1" "$1" && shift && mount -o remount,bind,ro / || exit 96
touch /tmp/written /written 2>/dev/null && exit 97
test $$ = 1 || exit 98
exec "$@"
"#;

/// How the container of a pod is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    /// Process 1, with nothing to write to but its volumes; in a user namespace, if that is what it takes.
    Own { has_user_namespace: bool },
    /// An ordinary process: this machine lets a test have nothing else.
    None,
}

impl Container {
    fn of_this_machine() -> Self {
        let works = |container: &Self| {
            let mut program = container.program("/tmp");
            let status = program.args(["true"]).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let own = [false, true].map(|has_user_namespace| Self::Own { has_user_namespace });
        let found = own.into_iter().find(works).unwrap_or(Self::None);
        println!("pods run in {found:?}");
        found
    }

    /// What the program of a pod and its arguments are to be added to.
    fn program(self, volume: &str) -> std::process::Command {
        let mut command = std::process::Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if self
            == (Self::Own {
                has_user_namespace: true,
            })
        {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--", "sh", "-c", CONTAINER, "container", volume]);
        command
    }
}

/// Everything around the pods.
struct Cluster {
    sentry: Sentry,
    operator: Operator,
    folder: TempDir,
    app: HttpApp,
    tls_app: TlsApp,
    container: Container,
}

impl Cluster {
    async fn start() -> Self {
        let sentry = Sentry::start().await;
        let issue = |name: &str| {
            let id = format!("spiffe://cluster.local/ns/dapr-system/{name}");
            sentry.authority().issue(&id).certified()
        };
        sentry.show(issue("dapr-sentry"));
        let operator = Operator::start_as(sentry.authority(), issue("dapr-operator"), |asked| {
            let configuration = json!({"metadata": {"name": "conf"}, "spec": {}}).to_string();
            OperatorAnswer::Resources(match asked.method.as_str() {
                "GetConfiguration" => vec![configuration],
                _ => Vec::new(),
            })
        })
        .await;
        let app = HttpApp::echo(Protocol::Http).await;
        let tls_app = TlsApp::in_front_of(sentry.authority(), app.port).await;
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // What a pod has of its cluster: a token, and a way to the API of Kubernetes.
        fs::write(folder.path().join("token"), "a token").unwrap();
        let kube = "current-context: c\ncontexts:\n- {name: c, context: {cluster: k}}\nclusters:\n- {name: k, cluster: \
                    {server: https://h}}\n";
        fs::write(folder.path().join("kubeconfig"), kube).unwrap();
        Self {
            sentry,
            operator,
            folder,
            app,
            tls_app,
            container: Container::of_this_machine(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

/// A sidecar as a pod has it.
struct Pod {
    name: String,
    child: Child,
    is_contained: bool,
    probed: u16,
    readiness: String,
    log: String,
}

/// The arguments with ports, addresses and paths of here; gives the port that is probed.
fn arguments(pod: &Value, number: usize, cluster: &Cluster) -> (Vec<String>, u16) {
    let args = pod["args"].as_array().unwrap().iter();
    let mut args: Vec<String> = args.map(|arg| arg.as_str().unwrap().to_owned()).collect();
    let is_tls = args.iter().any(|arg| arg == "https" || arg == "--app-ssl");
    let mut probed = 0;
    for index in 1..args.len() {
        let value = match args[index - 1].as_str() {
            "--dapr-public-port" => {
                probed = free_port();
                assert_eq!(args[index], pod["readiness"]["port"].to_string());
                assert_eq!(args[index], pod["liveness"]["port"].to_string());
                probed.to_string()
            }
            "--dapr-http-port" | "--dapr-grpc-port" | "--dapr-internal-grpc-port" | "--metrics-port" => {
                free_port().to_string()
            }
            "--app-port" if is_tls => cluster.tls_app.port.to_string(),
            "--app-port" => cluster.app.port.to_string(),
            "--control-plane-address" => cluster.operator.address.clone(),
            "--sentry-address" => cluster.sentry.address.clone(),
            "--unix-domain-socket" => {
                let sockets = cluster.path(&format!("sockets-{number}"));
                fs::create_dir(&sockets).unwrap();
                fs::set_permissions(&sockets, fs::Permissions::from_mode(0o777)).unwrap();
                sockets
            }
            _ => continue,
        };
        args[index] = value;
    }
    // What listens on a port of its own although nobody named one.
    for flag in ["--metrics-port", "--profile-port"] {
        if !args.iter().any(|arg| arg == flag) {
            args.extend([flag.to_owned(), free_port().to_string()]);
        }
    }
    (args, probed)
}

/// The variables; what comes from a field or a secret has some value.
fn variables(pod: &Value, cluster: &Cluster) -> Vec<(String, String)> {
    let given = pod["env"].as_object().unwrap().iter();
    let mut all: Vec<(String, String)> = given
        .map(|(name, value)| {
            let value = match (name.as_str(), value.as_str()) {
                ("DAPR_TRUST_ANCHORS", _) => cluster.sentry.anchors(),
                (_, Some(value)) => value.to_owned(),
                ("DAPR_HOST_IP", None) => "127.0.0.1".to_owned(),
                (_, None) => "something".to_owned(),
            };
            (name.clone(), value)
        })
        .collect();
    // Where these are mounted nothing can be put without a cluster.
    all.push(("DAPR_SENTRY_TOKEN_FILE".to_owned(), cluster.path("token")));
    all.push(("KUBECONFIG".to_owned(), cluster.path("kubeconfig")));
    all
}

/// Whether somebody else may run this program: it may be in a folder of one user.
fn is_open(program: &Path) -> bool {
    program.ancestors().all(|part| {
        part.metadata()
            .is_ok_and(|metadata| metadata.permissions().mode() & 0o1 == 1)
    })
}

impl Pod {
    fn start(pod: &Value, number: usize, cluster: &Cluster) -> Self {
        let (args, probed) = arguments(pod, number, cluster);
        let log = cluster.path(&format!("log-{number}"));
        let output = fs::File::create(&log).unwrap();
        // Whoever is root in here alone cannot become somebody else.
        let becomes_another = rustix::process::geteuid().is_root()
            && is_open(daprd_binary())
            && cluster.container
                != (Container::Own {
                    has_user_namespace: true,
                });
        let is_contained = cluster.container != Container::None;
        let mut command = if is_contained {
            let mut command = cluster.container.program(&cluster.path(""));
            if becomes_another {
                let user = format!("--reuid={USER}");
                let group = format!("--regid={USER}");
                let rights = [
                    "--clear-groups",
                    "--no-new-privs",
                    "--bounding-set=-all",
                    "--inh-caps=-all",
                ];
                command.args(["setpriv", &user, &group]).args(rights);
            }
            command.arg(daprd_binary());
            Command::from(command)
        } else {
            let mut command = Command::new(daprd_binary());
            if becomes_another {
                command.uid(USER).gid(USER);
            }
            command
        };
        command
            .args(args)
            .env_clear()
            .envs(variables(pod, cluster))
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(output.try_clone().unwrap())
            .stdout(output)
            .kill_on_drop(true);
        if is_contained {
            command.env("PATH", std::env::var("PATH").unwrap_or_default());
        }
        if !becomes_another {
            command.env("DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK", "true");
        }
        Self {
            name: pod["name"].as_str().unwrap().to_owned(),
            child: command.spawn().unwrap(),
            is_contained,
            probed,
            readiness: pod["readiness"]["path"].as_str().unwrap().to_owned(),
            log,
        }
    }

    /// The kubelet: the pod is ready when its path answers well, and lives as long as its port can be connected to.
    async fn passes_its_probes(&self) {
        let url = format!("http://127.0.0.1:{}{}", self.probed, self.readiness);
        let is_ready = async || {
            let answer = reqwest::get(&url).await;
            answer.is_ok_and(|answer| answer.status().is_success())
        };
        let waiting = async {
            while !is_ready().await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(2 * PATIENCE, waiting).await;
        let log = || fs::read_to_string(&self.log).unwrap();
        assert!(waited.is_ok(), "{}: not ready\n{}", self.name, log());
        eventually(&format!("{}: a connection", self.name), || async {
            TcpStream::connect(("127.0.0.1", self.probed)).await.is_ok()
        })
        .await;
    }

    /// The end of the pod.
    async fn ends(mut self) {
        let mut pid = self.child.id().unwrap().to_string();
        if self.is_contained {
            pid = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        }
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        let status = tokio::time::timeout(2 * PATIENCE, self.child.wait()).await;
        let log = fs::read_to_string(&self.log).unwrap();
        let status = status
            .unwrap_or_else(|_| panic!("{} does not end\n{log}", self.name))
            .unwrap();
        assert_eq!(status.code(), Some(0), "{}: {log}", self.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_injector_writes_starts_and_passes_its_probes() {
    let cluster = Cluster::start().await;
    let pods: Vec<Value> = TABLE
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(pods.len() >= 20, "{}", pods.len());
    for pod in &pods {
        let security = &pod["security"];
        assert_eq!(
            security["runAsNonRoot"], true,
            "the table has pods of ordinary users"
        );
        assert_eq!(security["readOnlyRootFilesystem"], true);
    }
    for (first, some) in pods.chunks(AT_ONCE).enumerate() {
        let numbered = some.iter().enumerate();
        let started: Vec<Pod> = numbered
            .map(|(number, pod)| Pod::start(pod, first * AT_ONCE + number, &cluster))
            .collect();
        for pod in &started {
            pod.passes_its_probes().await;
        }
        for pod in started {
            pod.ends().await;
        }
    }
}

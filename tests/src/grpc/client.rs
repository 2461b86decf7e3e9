//! The client.

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{Method, Request, Uri};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::{Answer, GrpcStream, InvokeResponse, InvokeServiceRequest, put};

/// One HTTP/2 connection on which calls are made. It is closed when dropped.
#[derive(Debug)]
pub struct GrpcClient {
    connection: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    /// What calls say as `:authority`.
    pub authority: String,
}

impl Drop for GrpcClient {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl GrpcClient {
    /// Connects to a port of the loopback interface.
    ///
    /// # Panics
    /// When nobody speaks HTTP/2 there.
    pub async fn connect(port: u16) -> Self {
        Self::connect_with(port, |_| {}).await
    }

    /// The same, with settings of its own: windows, how many streams.
    ///
    /// # Panics
    /// When nobody speaks HTTP/2 there.
    pub async fn connect_with(port: u16, configure: impl FnOnce(&mut Builder)) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("somebody listens");
        socket.set_nodelay(true).expect("a socket");
        let mut builder = Builder::new();
        builder.initial_connection_window_size(16 << 20);
        configure(&mut builder);
        let (connection, driving) = builder.handshake(socket).await.expect("HTTP/2");
        let driver = tokio::spawn(async move {
            let _ = driving.await;
        });
        Self {
            connection,
            driver,
            authority: format!("127.0.0.1:{port}"),
        }
    }

    /// Begins a call. `metadata` may name what is usually set here.
    ///
    /// # Panics
    /// When the connection is closed.
    pub async fn open(&self, path: &str, metadata: &[(&str, &str)]) -> GrpcStream {
        self.try_open(path, metadata).await.expect("a stream")
    }

    /// The same, on a connection that may be closed.
    ///
    /// # Panics
    /// When the path is none.
    pub async fn try_open(&self, path: &str, metadata: &[(&str, &str)]) -> Result<GrpcStream, h2::Error> {
        let uri = Uri::builder().scheme("http").authority(self.authority.as_str());
        let uri = uri.path_and_query(path).build().expect("a path");
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let has = |name: &str| metadata.iter().any(|(known, _)| *known == name);
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            if !has(name) {
                put(request.headers_mut(), &[(name, value)]);
            }
        }
        put(request.headers_mut(), metadata);
        let mut ready = self.connection.clone().ready().await?;
        let (answer, sending) = ready.send_request(request, false)?;
        Ok(GrpcStream::new(answer, sending))
    }

    /// Calls with these messages, and reads the whole answer.
    ///
    /// # Panics
    /// When the connection is closed, or no answer comes.
    pub async fn call(&self, path: &str, metadata: &[(&str, &str)], messages: &[&[u8]]) -> Answer {
        let mut stream = self.open(path, metadata).await;
        for message in messages {
            // An answer may come before all is sent.
            if !stream.try_send(message).await {
                break;
            }
        }
        stream.finish();
        stream.answer().await
    }

    /// Calls a method of an app.
    ///
    /// # Panics
    /// When the connection is closed, or no answer comes.
    pub async fn proxy(&self, app_id: &str, path: &str, message: &[u8]) -> Answer {
        self.call(path, &[("dapr-app-id", app_id)], &[message]).await
    }

    /// Invokes an app; the second is the answer's message, empty after a failure.
    ///
    /// # Panics
    /// When the connection is closed, or no answer comes, or it cannot be read.
    pub async fn invoke(
        &self,
        request: &InvokeServiceRequest,
        metadata: &[(&str, &str)],
    ) -> (Answer, InvokeResponse) {
        let message = prost::Message::encode_to_vec(request);
        let answer = self.call(super::INVOKE_SERVICE, metadata, &[&message]).await;
        let response = answer.messages.first().map(|message| message.data.clone());
        let response = prost::Message::decode(response.unwrap_or_default()).expect("an answer");
        (answer, response)
    }

    /// Whether the other side has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }
}

//! A client that sends exactly the bytes that a test wrote.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::PATIENCE;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// Makes closing a reset.
    fn reset_on_close(&self);
}

impl Stream for TcpStream {
    fn reset_on_close(&self) {
        rustix::net::sockopt::set_socket_linger(self, Some(Duration::ZERO)).expect("a socket");
    }
}

impl Stream for UnixStream {
    fn reset_on_close(&self) {}
}

/// A connection on which the test writes bytes and reads answers. [`RawApp`](crate::RawApp) uses it at the other
/// end: then what it reads are requests.
pub struct RawClient {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// An HTTP/1 answer, as it came.
#[derive(Clone, Debug)]
pub struct RawResponse {
    /// The status line.
    pub status_line: String,
    /// The header lines in order, names as they were spelled.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl RawResponse {
    /// The status code.
    ///
    /// # Panics
    /// When the status line has none.
    pub fn status(&self) -> u16 {
        self.status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status code")
    }

    /// The value of a header; the name is compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl RawClient {
    /// Connects to a port of the loopback interface.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .expect("somebody listens");
        Self::over(stream)
    }

    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.expect("somebody listens");
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// Takes a connection that is there.
    ///
    /// # Panics
    /// When the socket is broken.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream: Box::new(stream),
            buffer: Vec::new(),
        }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("the connection is open");
    }

    /// Sends bytes; `false` when the other side has closed the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Closes the connection with a reset, where the transport has one.
    pub fn reset(self) {
        self.stream.reset_on_close();
    }

    /// Closes the sending side.
    ///
    /// # Panics
    /// When the connection is closed.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }

    /// Whether the other side closes the connection, at once or after what it still sends.
    pub async fn is_closed(&mut self) -> bool {
        tokio::time::timeout(PATIENCE, async { while self.fill().await {} })
            .await
            .is_ok()
    }

    /// Reads one answer; `None` when the connection ends before it is complete.
    ///
    /// # Panics
    /// When nothing comes for too long.
    pub async fn receive(&mut self) -> Option<RawResponse> {
        tokio::time::timeout(PATIENCE, self.read_response())
            .await
            .expect("an answer in time")
    }

    /// Reads the head of an answer and no more.
    ///
    /// # Panics
    /// When nothing comes for too long.
    pub async fn receive_head(&mut self) -> Option<RawResponse> {
        tokio::time::timeout(PATIENCE, self.read_head())
            .await
            .expect("a head in time")
    }

    /// Reads the next chunk of a body; empty for the last one, `None` when the connection ends before.
    ///
    /// # Panics
    /// When nothing comes for too long.
    pub async fn receive_chunk(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(PATIENCE, self.read_chunk())
            .await
            .expect("a chunk in time")
    }

    /// Reads so many bytes; `None` when the connection ends before.
    ///
    /// # Panics
    /// When nothing comes for too long.
    pub async fn receive_bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let reading = async {
            while self.buffer.len() < count {
                if !self.fill().await {
                    return None;
                }
            }
            Some(self.buffer.drain(..count).collect())
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("bytes in time")
    }

    async fn read_response(&mut self) -> Option<RawResponse> {
        let mut response = self.read_head().await?;
        let status = response.status();
        if (100..200).contains(&status) || status == 204 || status == 304 {
            return Some(response);
        }
        if response
            .header("transfer-encoding")
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
        {
            response.body = self.read_chunks().await?;
        } else if let Some(length) = response.header("content-length") {
            let length = length.parse().ok()?;
            while self.buffer.len() < length {
                if !self.fill().await {
                    return None;
                }
            }
            response.body = self.buffer.drain(..length).collect();
        } else {
            while self.fill().await {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Some(response)
    }

    async fn read_head(&mut self) -> Option<RawResponse> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next()?.to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Some(RawResponse {
            status_line,
            headers,
            body: Vec::new(),
        })
    }

    async fn read_chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.read_chunk().await?;
            if chunk.is_empty() {
                return Some(body);
            }
            body.extend(chunk);
        }
    }

    async fn read_chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.read_line().await?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        while self.buffer.len() < size + 2 {
            if !self.fill().await {
                return None;
            }
        }
        let chunk = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        Some(chunk)
    }

    async fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Reads what is there; `false` at the end of the connection.
    async fn fill(&mut self) -> bool {
        self.buffer.reserve(16 * 1024);
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(read) if read > 0)
    }
}

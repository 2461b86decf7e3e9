//! The messages of an invocation, as far as tests need them. Field numbers are those of Dapr's public protocol
//! files.

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Any {
    /// The name of the type; empty for plain bytes.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Verb and query of an HTTP call.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HttpExtension {
    /// 1 is GET, 3 is POST.
    #[prost(int32, tag = "1")]
    pub verb: i32,
    /// The query, without its question mark.
    #[prost(string, tag = "2")]
    pub querystring: String,
}

/// What an app is asked.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InvokeRequest {
    /// The method.
    #[prost(string, tag = "1")]
    pub method: String,
    /// The body.
    #[prost(message, optional, tag = "2")]
    pub data: Option<Any>,
    /// The type of the body.
    #[prost(string, tag = "3")]
    pub content_type: String,
    /// Verb and query; HTTP apps need it.
    #[prost(message, optional, tag = "4")]
    pub http_extension: Option<HttpExtension>,
}

/// What an app answers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InvokeResponse {
    /// The body.
    #[prost(message, optional, tag = "1")]
    pub data: Option<Any>,
    /// The type of the body.
    #[prost(string, tag = "2")]
    pub content_type: String,
}

/// What `InvokeService` is sent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InvokeServiceRequest {
    /// The app id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What the app is asked.
    #[prost(message, optional, tag = "3")]
    pub message: Option<InvokeRequest>,
}

impl InvokeServiceRequest {
    /// A `POST` with a text.
    pub fn post(id: &str, method: &str, body: &str) -> Self {
        Self {
            id: id.to_owned(),
            message: Some(InvokeRequest {
                method: method.to_owned(),
                data: Some(Any {
                    type_url: String::new(),
                    value: body.into(),
                }),
                content_type: "text/plain".to_owned(),
                http_extension: Some(HttpExtension {
                    verb: 3,
                    querystring: String::new(),
                }),
            }),
        }
    }
}

impl InvokeResponse {
    /// An answer that is a text.
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self {
            data: Some(Any {
                type_url: String::new(),
                value: body.into(),
            }),
            content_type: "text/plain".to_owned(),
        }
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.data.as_ref().map_or(&[], |data| &data.value)
    }
}

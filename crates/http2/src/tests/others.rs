//! Connections with the `h2` crate at the other end: what is sent arrives, and nothing is left over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::duplex;

use super::plan::{Message, Plan, plan};
use crate::state::tests::NOTHING;
use crate::testing::*;
use crate::{RecvBody, client, server};

fn number(head: &HeaderMap) -> usize {
    head["number"].to_str().unwrap().parse().unwrap()
}

fn request<B>(number: usize, body: B) -> Request<B> {
    Request::post("http://peer/")
        .header("number", number)
        .body(body)
        .unwrap()
}

/// Our server's service.
async fn answer(plan: Arc<Plan>, request: Request<RecvBody>) -> Response<Body> {
    let exchange = &plan.exchanges[number(request.headers())];
    if !exchange.is_deaf
        && let Ok(body) = request.into_body().collect().await
    {
        let trailers = body.trailers().cloned();
        exchange.request.check(&body.to_bytes(), trailers.as_ref());
    }
    Response::new(exchange.answer.body())
}

/// Our client's call.
async fn call(plan: Arc<Plan>, number: usize, sender: client::Sender) {
    let exchange = &plan.exchanges[number];
    let mut call = client::Call::new(request(number, exchange.request.body()));
    if exchange.cancel_after == Some(0) {
        let _ = tokio::time::timeout(Duration::from_micros(300), sender.send(&mut call)).await;
        return;
    }
    let mut body = match sender.send(&mut call).await {
        Ok(answer) => answer.into_body(),
        // Of a request that it does not want to read to its end, h2 counts the stream until it has sent a reset, even
        // if the request has ended before.
        Err(error) if error.is_unseen() && plan.exchanges.iter().any(|exchange| exchange.is_deaf) => return,
        Err(error) => panic!("{error}"),
    };
    drop(sender);
    if let Some(count) = exchange.cancel_after {
        for _ in 0..count {
            body.frame().await;
        }
        return;
    }
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned();
    exchange.answer.check(&body.to_bytes(), trailers.as_ref());
}

/// Sends a message with `h2`, as far as the other side wants it.
async fn h2_send(mut stream: h2::SendStream<Bytes>, message: Message) -> Result<(), h2::Error> {
    for mut piece in message.pieces() {
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let Some(capacity) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
                return Ok(());
            };
            let part = piece.split_to(capacity?.min(piece.len()));
            stream.send_data(part, false)?;
        }
    }
    match message.trailers() {
        Some(trailers) => stream.send_trailers(trailers),
        None => stream.send_data(Bytes::new(), true),
    }
}

/// Reads a message with `h2`.
async fn h2_read(mut stream: h2::RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok((body, stream.trailers().await?))
}

async fn with_h2_client(plan: Plan) {
    let plan = Arc::new(plan.fit());
    let (ours, theirs) = duplex(plan.socket);
    let service = Arc::clone(&plan);
    let connection = server::serve(ours, plan.config(), move |request| {
        answer(Arc::clone(&service), request)
    });
    let shared = connection.shared();
    let served = tokio::spawn(connection);
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(plan.window)
        .initial_connection_window_size(plan.connection_window);
    let (sender, connection) = builder.handshake::<_, Bytes>(theirs).await.unwrap();
    let driven = tokio::spawn(connection);
    let calls: Vec<_> = (0..plan.exchanges.len())
        .map(|n| {
            let (plan, sender) = (Arc::clone(&plan), sender.clone());
            tokio::spawn(async move {
                let exchange = plan.exchanges[n].clone();
                let mut sender = sender.ready().await.unwrap();
                let (answer, stream) = sender.send_request(request(n, ()), false).unwrap();
                let sending = tokio::spawn(h2_send(stream, exchange.request));
                let reading = async { h2_read(answer.await?.into_body()).await };
                if let Some(count) = exchange.cancel_after {
                    let _ = tokio::time::timeout(Duration::from_micros(300 * count as u64), reading).await;
                    sending.abort();
                    return;
                }
                match reading.await {
                    Ok((body, trailers)) => exchange.answer.check(&body, trailers.as_ref()),
                    // h2 forgets an answer when the rest of its request is not wanted.
                    Err(error) => assert!(
                        exchange.is_deaf && error.reason() == Some(h2::Reason::NO_ERROR),
                        "{error}"
                    ),
                }
                let sent = sending.await.unwrap();
                assert!(sent.is_ok() || exchange.is_deaf, "{sent:?}");
            })
        })
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
    until(|| shared.lock().left() == NOTHING).await;
    drop(sender);
    soon(driven).await.unwrap().unwrap();
    let _ = soon(served).await.unwrap();
}

async fn with_h2_server(plan: Plan) {
    let plan = Arc::new(plan.fit());
    let (ours, theirs) = duplex(plan.socket);
    let (sender, connection) = client::connect(ours, plan.config());
    let shared = connection.shared();
    let driven = tokio::spawn(connection);
    let served = tokio::spawn({
        let plan = Arc::clone(&plan);
        async move {
            let mut builder = h2::server::Builder::new();
            builder
                .initial_window_size(plan.window)
                .initial_connection_window_size(plan.connection_window)
                .max_concurrent_streams(plan.max_streams);
            let mut connection = builder.handshake::<_, Bytes>(theirs).await.unwrap();
            let mut answers = Vec::new();
            while let Some(accepted) = connection.accept().await {
                let Ok((request, mut respond)) = accepted else {
                    break;
                };
                let plan = Arc::clone(&plan);
                answers.push(tokio::spawn(async move {
                    let exchange = plan.exchanges[number(request.headers())].clone();
                    let is_cancelled = exchange.cancel_after.is_some();
                    let request = request.into_body();
                    let mut kept = None;
                    if exchange.is_deaf {
                        kept = Some(request);
                    } else {
                        match h2_read(request).await {
                            Ok((body, trailers)) => exchange.request.check(&body, trailers.as_ref()),
                            Err(error) => assert!(is_cancelled, "{error}"),
                        }
                    }
                    let Ok(stream) = respond.send_response(Response::new(()), false) else {
                        assert!(is_cancelled);
                        return;
                    };
                    let sent = h2_send(stream, exchange.answer).await;
                    assert!(sent.is_ok() || is_cancelled, "{sent:?}");
                    drop(kept);
                }));
            }
            for answer in answers {
                answer.await.unwrap();
            }
        }
    });
    make_calls(&plan, &sender).await;
    until(|| shared.lock().left() == NOTHING).await;
    drop(sender);
    soon(driven).await.unwrap().unwrap();
    soon(served).await.unwrap();
}

/// Makes all calls of a plan at the same time.
async fn make_calls(plan: &Arc<Plan>, sender: &client::Sender) {
    let calls: Vec<_> = (0..plan.exchanges.len())
        .map(|n| tokio::spawn(call(Arc::clone(plan), n, sender.clone())))
        .collect();
    for call in calls {
        soon(call).await.unwrap();
    }
}

/// Both ends are ours, so that both can be looked at.
async fn with_ourselves(plan: Plan) {
    let plan = Arc::new(plan.fit());
    let (near, far) = duplex(plan.socket);
    let service = Arc::clone(&plan);
    let connection = server::serve(far, plan.config(), move |request| {
        answer(Arc::clone(&service), request)
    });
    let server = connection.shared();
    let served = tokio::spawn(connection);
    let (sender, connection) = client::connect(near, plan.config());
    let client = connection.shared();
    let driven = tokio::spawn(connection);
    make_calls(&plan, &sender).await;
    until(|| {
        let (client, server) = (client.lock(), server.lock());
        let ((client_sends, client_receives), (server_sends, server_receives)) =
            (client.windows(), server.windows());
        client.left() == NOTHING
            && server.left() == NOTHING
            && (client_sends, server_sends) == (server_receives, client_receives)
    })
    .await;
    drop(sender);
    soon(driven).await.unwrap().unwrap();
    let _ = soon(served).await.unwrap();
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn our_server(plan in plan()) {
        run(with_h2_client(plan));
    }

    #[test]
    fn our_client(plan in plan()) {
        run(with_h2_server(plan));
    }

    #[test]
    fn both(plan in plan()) {
        run(with_ourselves(plan));
    }
}

//! Many streams at once, and streams that nobody reads.

use integration_tests::Daprd;
use integration_tests::grpc::{GrpcApp, GrpcClient, GrpcStream, InvokeServiceRequest, Setup};

use super::{APP, METHOD, Pair, TO_APP};

fn resident(pair: &Pair) -> u64 {
    let of = |sidecar: &Daprd| sidecar.resident_bytes();
    of(&pair.caller).max(of(&pair.callee))
}

/// Opens streams that are answered once and then held.
async fn hold(client: &GrpcClient, count: usize) -> Vec<GrpcStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = client.open(METHOD, &[TO_APP]).await;
        stream.send(b"x").await;
        streams.push(stream);
    }
    for stream in &mut streams {
        assert_eq!(stream.message().await.expect("an answer").data, "x");
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_streams_on_few_connections() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let streams = hold(&client, 2000).await;
    // One for each thread of the sidecar at most.
    let threads = std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2));
    assert!(app.connections() <= threads, "{} connections", app.connections());
    let more = hold(&client, 200).await;
    assert!(
        app.connections() <= threads + 1,
        "{} connections",
        app.connections()
    );
    for mut stream in streams.into_iter().chain(more) {
        stream.finish();
        assert_eq!(stream.answer().await.code(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_costs_little() {
    let app = GrpcApp::echo().await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    // What comes with the first streams is not counted.
    let first = hold(&client, 200).await;
    let before = resident(&pair);
    let streams = hold(&client, 1000).await;
    let each = resident(&pair).saturating_sub(before) / 1000;
    println!("an idle stream costs {each} bytes");
    // An optimised sidecar stays below 30 KiB; this one need not be.
    assert!(each < 60 * 1024, "{each} bytes");
    drop((first, streams));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lags_holds_nobody_up() {
    let app = GrpcApp::start(|mut call| async move {
        if call.path() == "/test.Service/Endless" {
            let piece = vec![7; 16 * 1024];
            while call.send(&piece).await {}
            return;
        }
        call.messages().await;
        call.send(b"done").await;
        call.finish(0, "", &[]);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"done");
    let before = resident(&pair);
    let mut unread = Vec::new();
    for _ in 0..20 {
        let mut stream = client.open("/test.Service/Endless", &[TO_APP]).await;
        stream.head().await;
        unread.push(stream);
    }
    for _ in 0..200 {
        assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"done");
    }
    let grown = resident(&pair).saturating_sub(before);
    println!("twenty streams that nobody reads cost {grown} bytes");
    assert!(grown < 64 << 20, "{grown} bytes");
    // They go on where they were.
    for stream in &mut unread {
        for _ in 0..20 {
            assert!(stream.message().await.is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_does_not_read_holds_nobody_up() {
    let mut setup = Setup::new();
    setup
        .initial_window_size(64 * 1024)
        .initial_connection_window_size(4 << 20);
    let app = GrpcApp::start_with(setup, |mut call| async move {
        if call.path() == "/test.Service/Deaf" {
            call.cancelled().await;
            return;
        }
        call.messages().await;
        call.send(b"done").await;
        call.finish(0, "", &[]);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"done");
    let before = resident(&pair);
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let mut stream = client.open("/test.Service/Deaf", &[TO_APP]).await;
        sending.spawn(async move { while stream.try_send(&[0; 16 * 1024]).await {} });
    }
    for _ in 0..200 {
        assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"done");
    }
    let grown = resident(&pair).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes");
    sending.abort_all();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_that_an_app_allows_are_all_that_it_gets() {
    for allowed in [1, 5, 100] {
        let mut setup = Setup::new();
        setup.max_concurrent_streams(allowed);
        let app = GrpcApp::start_with(setup, |mut call| async move {
            call.messages().await;
            call.send(b"").await;
            call.finish(0, "", &[]);
        })
        .await;
        let pair = Pair::of(&app).await;
        let client = pair.client().await;
        // The first of all calls, at once: the app has not said yet how many it takes.
        let calls = (0..300).map(|_| client.proxy(APP, METHOD, b"x"));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.code(), 0, "{answer:?}");
        }
        let request = InvokeServiceRequest::post(APP, "m", "x");
        let calls = (0..300).map(|_| client.invoke(&request, &[]));
        for (answer, _) in futures_util::future::join_all(calls).await {
            assert_eq!(answer.code(), 0, "{answer:?}");
        }
        assert!(app.connections() <= 3, "{} connections", app.connections());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_go_on_do_not_keep_others_out_for_ever() {
    let mut setup = Setup::new();
    setup.max_concurrent_streams(3);
    let app = GrpcApp::start_with(setup, |mut call| async move {
        while let Some(message) = call.message().await {
            call.send(&message.data).await;
        }
        call.finish(0, "", &[]);
    })
    .await;
    let pair = Pair::of(&app).await;
    let client = pair.client().await;
    let held = hold(&client, 8).await;
    assert_eq!(client.proxy(APP, METHOD, b"x").await.only(), b"x");
    assert!((3..=5).contains(&app.connections()), "{}", app.connections());
    drop(held);
}

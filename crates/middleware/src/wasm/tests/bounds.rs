//! Guests that take more than they may.

use std::sync::atomic::Ordering;

use super::*;

fn few() -> Limits {
    Limits {
        instances: 2,
        kept: 1,
        memory: 4 << 16,
        all_memory: 7 << 16,
        slices: 3,
        sleep: 40,
        body: 8,
    }
}

#[tokio::test]
async fn a_guest_that_does_not_end_is_stopped_and_others_go_on() {
    let endless = "(loop $l (br $l)) (unreachable)";
    let wasm = request_of(endless).limited(few()).await;
    // On one thread: what counts here only counts if the guest gives the thread back.
    let counting = tokio::spawn(async {
        let mut count = 0_u32;
        loop {
            tokio::task::yield_now().await;
            count += 1;
            if count == 2 {
                return count;
            }
        }
    });
    let seen = answered(&wasm, get("/")).await;
    assert!(counting.is_finished());
    assert_eq!(seen.status, 500);
    assert_eq!(
        seen.text(),
        "wasm: the guest ran longer than 15 ms and was stopped"
    );

    let guest = Guest {
        request: "(i64.const 1)",
        response: endless,
        more: "",
    };
    let seen = asked(&guest.limited(few()).await, get("/"), echo).await;
    assert_eq!(seen.status, 500);
}

#[tokio::test]
async fn a_guest_that_calls_itself_for_ever_is_stopped() {
    let guest = Guest {
        request: "(call $f) (i64.const 0)",
        response: "",
        more: "(func $f (call $f) (call $f))",
    };
    let seen = answered(&guest.limited(few()).await, get("/")).await;
    assert_eq!(seen.text(), "wasm error: stack overflow");
}

#[tokio::test]
async fn memory_ends() {
    // Pages until there are no more, which the guest is told.
    let grows = "(local $n i32)
        (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
        (i32.store8 (i32.const 0) (i32.add (i32.const 48) (memory.size)))
        (call $write_body (i32.const 1) (i32.const 0) (i32.const 1)) (i64.const ";
    let wasm = request_of(&format!("{grows} 0)")).limited(few()).await;
    assert_eq!(answered(&wasm, get("/")).await.text(), "4");
    // Two at a time share what there is: four and three pages.
    let wasm = request_of(&format!("{grows} 1)")).limited(few()).await;
    let mut first = call(get("/"));
    let _first = wasm.handle(&mut first).await.unwrap();
    let mut second = call(get("/"));
    let second = wasm.handle(&mut second).await.unwrap();
    let After::Guest(waiting) = second else { panic!() };
    let seen = seen(waiting.leave(echo(get("/")).await).await).await;
    assert_eq!(seen.text(), "3GET /\n");
}

#[tokio::test]
async fn instances_are_counted_and_given_back() {
    let wasm = request_of("(i64.const 1)").limited(few()).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut call = call(get("/"));
        waiting.push(wasm.handle(&mut call).await.unwrap());
    }
    let refused = answered(&wasm, get("/")).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.text(), "wasm: 2 instances of the guest are in use");
    // A caller that goes away takes its instance along; an answer gives it back.
    drop(waiting.pop());
    let Some(After::Guest(last)) = waiting.pop() else {
        panic!()
    };
    last.leave(echo(get("/")).await).await;
    assert_eq!(wasm.pool.instances().load(Ordering::Relaxed), 1);
    assert_eq!(asked(&wasm, get("/"), echo).await.status, 201);
}

#[tokio::test]
async fn bodies_have_a_bound() {
    let buffered = "(drop (call $enable_features (i32.const 3)))";
    let post = || Request::post("/").body(Body::full("ninebytes")).unwrap();
    for (does, wanted) in [
        (
            format!(
                "{buffered} (drop (call $read_body (i32.const 0) (i32.const 0) (i32.const 1))) (i64.const 1)"
            ),
            "error reading body: it is longer than 8 bytes",
        ),
        (
            "(call $write_body (i32.const 0) «123456789») (i64.const 1)".to_owned(),
            "error writing body: it is longer than 8 bytes",
        ),
        (
            "(call $write_body (i32.const 1) «12345») (call $write_body (i32.const 1) «6789») (i64.const 0)"
                .to_owned(),
            "error writing body: it is longer than 8 bytes",
        ),
        (
            format!("{buffered} (i64.const 1)"),
            "the body of the answer is longer than 8 bytes",
        ),
    ] {
        let seen = asked(&request_of(&does).limited(few()).await, post(), echo).await;
        assert_eq!(
            (seen.status.as_u16(), seen.text().as_str()),
            (500, wanted),
            "{does}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn sleep_has_a_bound() {
    // A subscription to a clock for 20 ms.
    let sleeps = "(i64.store (i32.const 24) (i64.const 20000000))
        (if (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 128)) (i32.const 1)) (then (unreachable)))";
    for (times, wanted) in [
        (2, ""),
        (3, "wasm: the guest slept longer than 40 ms and was stopped"),
    ] {
        let wasm = request_of(&format!("{} (i64.const 0)", sleeps.repeat(times)))
            .limited(few())
            .await;
        assert_eq!(answered(&wasm, get("/")).await.text(), wanted, "{times}");
    }
}

#[tokio::test]
async fn what_is_printed_has_a_bound() {
    use crate::wasm::limits::PRINTED;

    let prints = "(local $n i32) (i32.store (i32.const 4) (i32.const 60000))
        (loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.lt_u (local.get $n) (i32.const 9))))
        (i64.const 1)";
    let wasm = request_of(prints).load().await;
    let mut call = call(get("/"));
    let Ok(After::Guest(mut waiting)) = wasm.handle(&mut call).await else {
        panic!()
    };
    assert_eq!(waiting.lease.printed(), PRINTED);
}

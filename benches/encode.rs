//! Server-Sent Events encoder, used as the sequencer uses it: appending to a buffer whose capacity
//! suffices.
//!
//! Throughput is in bytes of `data`. `cargo bench --bench encode`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::event::wire::Fields;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ID: &str = "4w1nqb7e-1234567";

fn bench_encode(c: &mut Criterion) {
    let plain = |bytes: usize| "x".repeat(bytes);
    let of_lines =
        |bytes: usize, lines: usize| format!("{}\n", "x".repeat(bytes / lines - 1)).repeat(lines);
    let mut group = c.benchmark_group("encode");
    for (operation, data, event_type, retry) in [
        ("one_line", plain(64), None, None),
        ("one_line", plain(1024), None, None),
        ("one_line", plain(16 * 1024), None, None),
        ("64_lines", of_lines(1024, 64), None, None),
        ("type_and_retry", plain(64), Some("message.created"), Some(3000)),
        ("type_and_retry", plain(1024), Some("message.created"), Some(3000)),
    ] {
        let fields = Fields { event_type, retry, data: &data, id: Some(ID) };
        let mut out = Vec::new();
        group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes: data.len() as u64 });
        group.bench_function(BenchmarkId::new(operation, data.len()), |b| {
            b.iter(|| {
                out.clear();
                black_box(&fields).encode(&mut out);
                black_box(&out);
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = bench_encode
}
criterion_main!(benches);

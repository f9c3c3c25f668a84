#![allow(clippy::all, clippy::disallowed_methods)]
use runtime_engine::{Engine, LoadOptions};
use runtime_engine_native::NativeEngine;
use runtime_tensor::{Dimension, Tensor};
use std::time::Instant;
fn main() {
    let threads: usize = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(1);
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).unwrap();
        let start = Instant::now();
        let mut session = NativeEngine::new().load(&bytes, &LoadOptions { threads, ..Default::default() }).unwrap();
        let load = start.elapsed();
        let inputs: Vec<_> = session
            .inputs()
            .iter()
            .map(|spec| {
                let shape: Vec<usize> = spec
                    .shape
                    .iter()
                    .map(|d| match d {
                        Dimension::Fixed(n) => *n as usize,
                        _ => 1,
                    })
                    .collect();
                let n: usize = shape.iter().product();
                (
                    spec.name.clone(),
                    Tensor::from_f32(shape, (0..n).map(|i| (i % 255) as f32 / 255.0).collect()).unwrap(),
                )
            })
            .collect();
        let mut times: Vec<f64> = (0..21)
            .map(|_| {
                let s = Instant::now();
                session.run(&inputs, &[], None).unwrap();
                s.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        let first = times[0];
        times.sort_by(f64::total_cmp);
        println!(
            "{}: load {:.0} ms, first {:.2} ms, median {:.2} ms, min {:.2}; covered {} of {}; isa {}; resident {} MB; {:?}",
            path.rsplit('/').next().unwrap(),
            load.as_secs_f64() * 1e3,
            first,
            times[10],
            times[0],
            session.coverage().nodes_covered,
            session.coverage().nodes_total,
            session.isa(),
            session.resident_bytes() >> 20,
            session.coverage().left_out.iter().map(|l| format!("{}: {}", l.operator, l.reason)).collect::<Vec<_>>()
        );
    }
}

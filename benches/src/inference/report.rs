//! Everything that was measured, and its tables.

use std::collections::BTreeMap;

use runtime_console::table;
use runtime_engine::Coverage;
use runtime_inference::{Engines, read_machine};
use serde::Serialize;

use super::case::Case;
use super::start::{Figures, Start};

/// The report of `bench inference`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// The native engine's build.
    pub native: String,
    /// ONNX Runtime's.
    pub ort: String,
    /// Time spent on the pairs of one case.
    pub seconds_per_case: f64,
    /// One row for each model, form and number of threads.
    pub cases: Vec<Case>,
    /// One row for each model and form.
    pub starts: Vec<Start>,
    /// Geometric means of the ratios, by form.
    pub means: Vec<Mean>,
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// As Rust names it.
    pub architecture: String,
    /// Instruction set extensions that this process may use.
    pub cpu_features: Vec<String>,
    /// Cores that this process may use.
    pub cores: u32,
}

/// A geometric mean of ratios, ONNX Runtime's figure divided by ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mean {
    /// The form.
    pub kind: String,
    /// What the ratios are of: `run, 1 thread`, `load`, `first run`, `peak memory`.
    pub figure: String,
    /// The mean; absent when no model was measured.
    pub ratio: Option<f64>,
    /// Models in it.
    pub models: usize,
    /// Models of this form that were asked for.
    pub models_asked: usize,
    /// The lowest ratio and its model.
    pub lowest: Option<(f64, String)>,
}

impl Report {
    pub(crate) fn new(native: String, ort: String, seconds_per_case: f64) -> Self {
        let profile = read_machine(&Engines::default());
        let machine = Machine {
            architecture: profile.architecture,
            cpu_features: profile.cpu_features.into_iter().collect(),
            cores: profile.cores,
        };
        Self { machine, native, ort, seconds_per_case, cases: Vec::new(), starts: Vec::new(), means: Vec::new() }
    }

    /// Fills in the means.
    pub(crate) fn finish(&mut self) {
        let mut kinds: Vec<&str> = Vec::new();
        for start in &self.starts {
            if !kinds.contains(&start.kind.as_str()) {
                kinds.push(&start.kind);
            }
        }
        let mut means = Vec::new();
        for kind in kinds {
            let mut threads: BTreeMap<u16, Vec<(&str, Option<f64>)>> = BTreeMap::new();
            for case in self.cases.iter().filter(|case| case.kind == kind) {
                let ratio = case.pairs.as_ref().map(|pairs| pairs.ratio);
                threads.entry(case.threads).or_default().push((&case.name, ratio));
            }
            for (threads, ratios) in threads {
                let unit = if threads == 1 { "thread" } else { "threads" };
                means.push(mean(kind, &format!("run, {threads} {unit}"), &ratios));
            }
            for (figure, ratio) in START_RATIOS {
                let starts = self.starts.iter().filter(|start| start.kind == kind);
                let ratios: Vec<_> = starts.map(|start| (start.name.as_str(), start_ratio(start, ratio))).collect();
                means.push(mean(kind, figure, &ratios));
            }
        }
        self.means = means;
    }

    /// The tables.
    pub fn text(&self) -> String {
        let mut isas: Vec<&str> = self.cases.iter().filter_map(|case| case.isa.as_deref()).collect();
        isas.sort_unstable();
        isas.dedup();
        let isas = if isas.is_empty() { "none".to_owned() } else { isas.join(", ") };
        let features = self.machine.cpu_features.join(" ");
        let lines = [
            format!("machine: {}, {} cores, {features}", self.machine.architecture, self.machine.cores),
            format!("engines: {}, kernels that ran: {isas}; {}", self.native, self.ort),
            "ratio = ONNX Runtime's median divided by ours; in brackets the quartiles of single pairs; ? = other programs took part".to_owned(),
            "time = processor time where a run has one thread (other programs don't count), else wall time of calm pairs".to_owned(),
        ];
        let cases: Vec<Vec<String>> = self.cases.iter().map(case_row).collect();
        let failures = self.cases.iter().filter_map(|case| {
            Some(format!("failed: {} {}, {} threads: {}\n", case.name, case.kind, case.threads, case.error.as_ref()?))
        });
        let failures: String = failures.collect();
        let starts: Vec<Vec<String>> = self.starts.iter().map(start_row).collect();
        let means: Vec<Vec<String>> = self.means.iter().map(mean_row).collect();
        [
            lines.join("\n") + "\n",
            table(
                &["model", "kind", "threads", "ort us", "native us", "ratio", "answers differ by", "nodes covered"],
                &cases,
            ) + &failures,
            table(
                &[
                    "model",
                    "kind",
                    "load ms: ort",
                    "native",
                    "ratio",
                    "first ms: ort",
                    "native",
                    "ratio",
                    "peak MB: ort",
                    "native",
                    "ratio",
                ],
                &starts,
            ),
            table(&["kind", "geometric mean of", "ratio", "models", "lowest"], &means),
        ]
        .join("\n")
    }
}

type Ratio = fn(&Figures, &Figures) -> f64;

const START_RATIOS: [(&str, Ratio); 3] = [
    ("load", |native, ort| ort.load_ms / native.load_ms),
    ("first run", |native, ort| ort.first_ms / native.first_ms),
    ("peak memory", |native, ort| ort.peak_bytes as f64 / native.peak_bytes.max(1) as f64),
];

fn start_ratio(start: &Start, ratio: Ratio) -> Option<f64> {
    Some(ratio(start.native.as_ref().ok()?, start.ort.as_ref().ok()?))
}

fn mean(kind: &str, figure: &str, ratios: &[(&str, Option<f64>)]) -> Mean {
    let known: Vec<(f64, &str)> = ratios.iter().filter_map(|(name, ratio)| Some(((*ratio)?, *name))).collect();
    let logarithms: f64 = known.iter().map(|(ratio, _)| ratio.ln()).sum();
    let lowest = known.iter().min_by(|left, right| left.0.total_cmp(&right.0));
    Mean {
        kind: kind.to_owned(),
        figure: figure.to_owned(),
        ratio: (!known.is_empty()).then(|| (logarithms / known.len() as f64).exp()),
        models: known.len(),
        models_asked: ratios.len(),
        lowest: lowest.map(|(ratio, name)| (*ratio, (*name).to_owned())),
    }
}

fn case_row(case: &Case) -> Vec<String> {
    let mut row = vec![case.name.clone(), case.kind.clone(), case.threads.to_string()];
    match &case.pairs {
        Some(pairs) => {
            let (low, high) = pairs.ratio_quartiles;
            row.push(format!("{:.1}", pairs.ort_us));
            row.push(format!("{:.1}", pairs.native_us));
            let mark = if pairs.disturbed { " ?" } else { "" };
            row.push(format!("{:.2} ({low:.2} to {high:.2}){mark}", pairs.ratio));
        }
        None => row.extend(["-".into(), "-".into(), "failed".into()]),
    }
    row.push(case.difference.as_ref().map_or_else(|| "-".into(), |difference| difference.cell()));
    row.push(case.coverage.as_ref().map_or_else(|| "-".into(), covered));
    row
}

fn covered(coverage: &Coverage) -> String {
    let share = 100.0 * coverage.nodes_covered as f64 / coverage.nodes_total.max(1) as f64;
    format!("{share:.0} % of {}", coverage.nodes_total)
}

fn start_row(start: &Start) -> Vec<String> {
    let mut row = vec![start.name.clone(), start.kind.clone()];
    let (native, ort) = (start.native.as_ref().ok(), start.ort.as_ref().ok());
    let cell = |figures: Option<&Figures>, figure: fn(&Figures) -> f64| {
        figures.map_or_else(|| "-".to_owned(), |figures| format!("{:.2}", figure(figures)))
    };
    let figures: [fn(&Figures) -> f64; 3] =
        [|figures| figures.load_ms, |figures| figures.first_ms, |figures| figures.peak_bytes as f64 / 1e6];
    for (figure, (_, ratio)) in figures.into_iter().zip(START_RATIOS) {
        row.extend([cell(ort, figure), cell(native, figure)]);
        row.push(start_ratio(start, ratio).map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")));
    }
    row
}

fn mean_row(mean: &Mean) -> Vec<String> {
    vec![
        mean.kind.clone(),
        mean.figure.clone(),
        mean.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")),
        format!("{} of {}", mean.models, mean.models_asked),
        mean.lowest.as_ref().map_or_else(|| "-".into(), |(ratio, name)| format!("{ratio:.2} ({name})")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_says_over_how_many_models_it_is() {
        let found = mean("qdq", "run, 1 thread", &[("a", Some(2.0)), ("b", Some(0.5)), ("c", None)]);
        assert_eq!((found.models, found.models_asked), (2, 3));
        assert!((found.ratio.expect("two ratios") - 1.0).abs() < 1e-12);
        assert_eq!(found.lowest, Some((0.5, "b".to_owned())));
        let none = mean("qdq", "load", &[("c", None)]);
        assert_eq!(mean_row(&none), ["qdq", "load", "-", "0 of 1", "-"]);
    }
}

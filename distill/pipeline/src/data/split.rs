//! From files and fractions to four parts.
//!
//! Fractions are taken from a pool (`data.file`, else the training file): test first, then validation, class by class
//! and seeded; what is left is the training part. Equal samples stay together, so that a fraction can never leak.
//! Calibration samples are drawn from the training part: they need no labels and are not judged on.

use std::collections::BTreeMap;
use std::path::Path;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use runtime_trust::Digest;

use super::check::{empty_classes, leakage};
use super::{Finding, Part, Preparation, RawSet, check_labels, check_values, read, rows, sample_digests};
use crate::error::{At as _, PipelineError, Result};
use crate::recipe::{DataSection, Share};

/// Share of the pool that validates when the recipe does not say.
const VALIDATION_SHARE: f64 = 0.15;
/// Share of the pool that tests when the recipe does not say.
const TEST_SHARE: f64 = 0.2;
/// Calibration samples when the recipe does not say: more changes ranges by little.
const CALIBRATION_SAMPLES: usize = 512;

/// All parts of the data.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) train: Part,
    pub(crate) calibration: Part,
    pub(crate) validation: Part,
    pub(crate) test: Part,
    /// Classes: one more than the highest label, or what the recipe names; 0 without labels.
    pub(crate) classes: usize,
    /// Digest over the files.
    pub(crate) digest: Digest,
    /// What is worth saying about the data; no errors.
    pub(crate) warnings: Vec<Finding>,
}

impl Data {
    /// Shape of one sample.
    pub(crate) fn sample_shape(&self) -> &[usize] {
        &self.test.x.shape()[1..]
    }

    /// True when every part that is judged on has labels.
    pub(crate) fn is_labelled(&self) -> bool {
        self.validation.y.is_some() && self.test.y.is_some()
    }

    fn named(&self) -> [(&'static str, &Part); 4] {
        [
            ("train", &self.train),
            ("calibration", &self.calibration),
            ("validation", &self.validation),
            ("test", &self.test),
        ]
    }
}

/// Reads, cuts and checks the data of a recipe, whose paths are relative to `folder`.
///
/// `classes` is the number that the recipe or the models demand; `trains` says whether the training part is learned
/// from, so that a class without samples in it is an error.
pub(crate) fn load(section: &DataSection, folder: &Path, classes: Option<usize>, trains: bool) -> Result<Data> {
    let mut files = Files { folder, shape: section.shape.as_deref(), read: BTreeMap::new() };
    let pool_path = section.pool().ok_or_else(|| {
        PipelineError::input("[data]: found neither `file` nor `train`, expected one of them to name a .npz file")
    })?;
    let pool = files.read(pool_path)?;
    let (validation_share, test_share) = (
        section.validation.clone().unwrap_or(Share::Fraction(VALIDATION_SHARE)),
        section.test.clone().unwrap_or(Share::Fraction(TEST_SHARE)),
    );
    let mut cut = Cut::new(&pool, section.seed);
    let test = files.part(&test_share, &mut cut, "test")?;
    let validation = files.part(&validation_share, &mut cut, "validation")?;
    let train = match &section.train {
        Some(Share::File(path)) if section.file.is_some() => files.read(path)?,
        Some(Share::Fraction(share)) => cut.take(*share, "train")?,
        _ => cut.rest("train")?,
    };
    let calibration = match &section.calibration {
        Some(Share::File(path)) => files.read(path)?,
        Some(Share::Fraction(share)) => {
            draw(&train, (pool.x.shape()[0] as f64 * share).round() as usize, section.seed)?
        }
        None => draw(&train, CALIBRATION_SAMPLES, section.seed)?,
    };
    let preparation = Preparation { scale: section.scale, offset: section.offset };
    let part = |set: &RawSet| -> Result<Part> {
        Ok(Part { x: preparation.apply(&set.x)?, y: set.y.clone(), samples: sample_digests(&set.x) })
    };
    let mut data = Data {
        train: part(&train)?,
        calibration: part(&calibration)?,
        validation: part(&validation)?,
        test: part(&test)?,
        classes: 0,
        digest: files.digest(),
        warnings: Vec::new(),
    };
    let highest = [&data.train, &data.validation, &data.test]
        .iter()
        .filter_map(|part| part.y.as_ref()?.iter().max().map(|label| *label as usize + 1))
        .max();
    data.classes = classes.or(section.classes).or(highest).unwrap_or(0);
    let mut findings = files.check(data.classes);
    findings.extend(check_parts(&data, trains));
    let errors: Vec<&str> = findings.iter().filter(|f| f.level == "error").map(|f| f.text.as_str()).collect();
    if !errors.is_empty() {
        return Err(PipelineError::input(format!("the data cannot be used: {}", errors.join("; "))));
    }
    data.warnings = findings;
    Ok(data)
}

fn check_parts(data: &Data, trains: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let expected = data.sample_shape().to_vec();
    for (name, part) in data.named() {
        let found = &part.x.shape()[1..];
        if found != expected {
            findings.push(Finding::error(format!(
                "{name}: found samples of shape {found:?}, expected {expected:?} as in test"
            )));
        }
        let Some(labels) = &part.y else { continue };
        let empty = empty_classes(labels, data.classes);
        if empty.is_empty() || name == "calibration" {
            continue;
        }
        let text = format!("{name}: found no sample of class {empty:?}, expected some of each of {}", data.classes);
        findings.push(if trains && name == "train" { Finding::error(text) } else { Finding::warning(text) });
    }
    let mut shared = |judged: &str, part: &Part, other_name: &str, other: &Part| {
        if let Some((count, here, there)) = leakage(&part.samples, &other.samples) {
            findings.push(Finding::error(format!(
                "{judged}: found {count} samples that also stand in {other_name} (the first: {judged} {here} is \
                 {other_name} {there}), expected none"
            )));
        }
    };
    shared("test", &data.test, "train", &data.train);
    shared("test", &data.test, "calibration", &data.calibration);
    shared("test", &data.test, "validation", &data.validation);
    shared("validation", &data.validation, "train", &data.train);
    findings
}

/// A seeded choice of up to `count` samples, without labels.
fn draw(set: &RawSet, count: usize, seed: u64) -> Result<RawSet> {
    let mut order: Vec<usize> = (0..set.x.shape()[0]).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(1);
    order.shuffle(&mut random);
    order.truncate(count.max(1));
    order.sort_unstable();
    Ok(RawSet { x: rows(&set.x, &order)?, y: None, digest: set.digest })
}

/// Files that were read, each once.
struct Files<'a> {
    folder: &'a Path,
    /// Shape of one sample, when the recipe gives one.
    shape: Option<&'a [usize]>,
    read: BTreeMap<std::path::PathBuf, RawSet>,
}

impl Files<'_> {
    fn read(&mut self, path: &Path) -> Result<RawSet> {
        let path = self.folder.join(path);
        if let Some(set) = self.read.get(&path) {
            return Ok(set.clone());
        }
        let set = read(&path)?.shaped(self.shape).at(path.display())?;
        self.read.insert(path, set.clone());
        Ok(set)
    }

    fn part(&mut self, share: &Share, cut: &mut Cut<'_>, name: &str) -> Result<RawSet> {
        match share {
            Share::File(path) => self.read(path),
            Share::Fraction(share) => cut.take(*share, name),
        }
    }

    /// Values that are no numbers and labels out of range, by their places in the files.
    fn check(&self, classes: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (path, set) in &self.read {
            let place = path.display().to_string();
            findings.extend(check_values(&place, &set.x));
            findings.extend(set.y.as_ref().and_then(|labels| check_labels(&place, labels, classes)));
        }
        findings
    }

    /// Over the digests of all files, in the order of their digests.
    fn digest(&self) -> Digest {
        let mut digests: Vec<String> = self.read.values().map(|set| set.digest.to_string()).collect();
        digests.sort();
        match digests.as_slice() {
            [_] => self.read.values().next().map_or_else(|| Digest::of(b""), |set| set.digest),
            _ => Digest::of(digests.join("\n").as_bytes()),
        }
    }
}

/// A pool that parts are taken from. Samples are dealt in groups of equal ones, class by class.
struct Cut<'a> {
    pool: &'a RawSet,
    /// Groups of each class that are left, shuffled.
    classes: BTreeMap<u32, Vec<Vec<usize>>>,
    /// Samples of each class in the whole pool.
    sizes: BTreeMap<u32, usize>,
}

impl<'a> Cut<'a> {
    fn new(pool: &'a RawSet, seed: u64) -> Self {
        let mut groups: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (at, digest) in sample_digests(&pool.x).into_iter().enumerate() {
            groups.entry(digest).or_default().push(at);
        }
        let mut ordered: Vec<Vec<usize>> = groups.into_values().collect();
        ordered.sort();
        let (mut classes, mut sizes) = (BTreeMap::<u32, Vec<Vec<usize>>>::new(), BTreeMap::new());
        for group in ordered {
            let class = pool.y.as_ref().map_or(0, |labels| labels[group[0]]);
            *sizes.entry(class).or_insert(0) += group.len();
            classes.entry(class).or_default().push(group);
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for groups in classes.values_mut() {
            groups.shuffle(&mut random);
        }
        Cut { pool, classes, sizes }
    }

    /// A share of every class of the whole pool.
    fn take(&mut self, share: f64, name: &str) -> Result<RawSet> {
        let mut indices = Vec::new();
        for (class, groups) in &mut self.classes {
            let wanted = (self.sizes[class] as f64 * share).round() as usize;
            let mut taken = 0;
            while taken < wanted {
                let Some(group) = groups.pop() else { break };
                taken += group.len();
                indices.extend(group);
            }
        }
        self.collect(indices, name)
    }

    fn rest(&mut self, name: &str) -> Result<RawSet> {
        let indices = std::mem::take(&mut self.classes).into_values().flatten().flatten().collect();
        self.collect(indices, name)
    }

    fn collect(&self, mut indices: Vec<usize>, name: &str) -> Result<RawSet> {
        if indices.is_empty() {
            return Err(PipelineError::input(format!(
                "[data]: found no sample for the {name} part, expected at least one; use smaller fractions or more data"
            )));
        }
        indices.sort_unstable();
        let y = self.pool.y.as_ref().map(|labels| indices.iter().map(|at| labels[*at]).collect());
        Ok(RawSet { x: rows(&self.pool.x, &indices)?, y, digest: self.pool.digest })
    }
}

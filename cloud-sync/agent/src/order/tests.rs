//! One attack for each step of the order, each beside a control that differs only in the attack.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cloud_sync_store::{DeviceState, Store};
use runtime_artifact::Manifest;
use runtime_disk::MemoryDisk;
use runtime_tensor::Tensor;
use runtime_trust::{Digest, Envelope, FileName, Root, TrustState, limits};

use super::{Claim, Source, Stop, Take, Taken};
use crate::config::{Config, Flags};
use crate::device::Device;
use crate::fixture::{
    Artifact, DEPLOY, Fleet, MODEL, RELEASE, ROOT, STRANGER, Spec, answer, artifact, now, root, sign_deployment,
};
use crate::folder::AgentFolder;
use crate::job::{self, JobDesk, Line};
use crate::local::{Local, OwnLine};
use crate::machine::{End, Event, LinkState, Verdict};

/// A source that has everything in memory, and gives whatever it was told to.
#[derive(Clone, Default)]
pub(crate) struct MemorySource {
    pub(crate) claim: Option<Vec<u8>>,
    pub(crate) files: BTreeMap<FileName, Vec<u8>>,
    pub(crate) manifests: BTreeMap<Digest, Vec<u8>>,
    pub(crate) objects: BTreeMap<Digest, Vec<u8>>,
}

impl Source for MemorySource {
    fn claim(&mut self) -> Result<Claim, Stop> {
        Ok(self.claim.clone().map_or(Claim::Nothing, Claim::Deployment))
    }

    fn trust_file(&mut self, file: &FileName, _bytes_max: u64) -> Result<Option<Vec<u8>>, Stop> {
        Ok(self.files.get(file).cloned())
    }

    fn manifest(&mut self, digest: &Digest, _bytes_max: u64) -> Result<Vec<u8>, Stop> {
        self.manifests.get(digest).cloned().ok_or_else(|| Stop::Interrupted(format!("no manifest {digest}")))
    }

    fn objects(&mut self, wanted: &[Digest], take: &mut Take<'_>) -> Result<(), Stop> {
        for digest in wanted {
            let bytes = self.objects.get(digest).ok_or_else(|| Stop::Interrupted(format!("no object {digest}")))?;
            match take(digest, bytes) {
                Taken::Kept => {}
                Taken::Wrong(why) => return Err(Stop::refused(7, "wrong-copy", why)),
                Taken::Stop => return Err(Stop::refused(7, "not-kept", "stopped")),
            }
        }
        Ok(())
    }
}

/// A device in memory that follows a fleet.
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) disk: MemoryDisk,
    pub(crate) local: Local,
}

/// What a job tells the machine, heard by a test first.
type Hook<'a> = &'a mut dyn FnMut(&Event);

struct Overheard<'a, 'h> {
    inner: OwnLine<'a>,
    hook: Hook<'h>,
}

impl Line for Overheard<'_, '_> {
    fn tell(&mut self, event: Event) {
        (self.hook)(&event);
        self.inner.tell(event);
    }

    fn ask(&mut self, event: Event) -> Verdict {
        (self.hook)(&event);
        self.inner.ask(event)
    }

    fn is_aborted(&self) -> bool {
        false
    }
}

pub(crate) fn device(disk: &MemoryDisk, fleet: &Fleet, flags: &Flags) -> Arc<Device> {
    let folder = Path::new("/device");
    let store = Store::open_on(Arc::new(disk.clone()), folder).expect("an empty disk");
    if store.state().trust.is_empty() {
        let trust = TrustState::enrolled(Root::pin(&fleet.root).expect("a root"), now() - 60).to_bytes();
        store.commit(DeviceState { trust, ..DeviceState::default() }).expect("an empty disk");
    }
    let config = Config::load(Path::new("/nowhere"), &|_| None, flags).expect("defaults");
    Device::over(store, &AgentFolder::new(folder), Some(&fleet.enrolment()), config.settings())
}

fn local(device: Arc<Device>) -> Local {
    let trust = device.trust().expect("an enrolled device");
    let mut local = Local::new(device, &trust);
    local.executor.feed(Event::Started, 0);
    local
}

impl World {
    /// A device on which version 1 is active, by deployment 2.
    pub(crate) fn new() -> World {
        World::with(&Flags::default())
    }

    pub(crate) fn with(flags: &Flags) -> World {
        let fleet = Fleet::new();
        let disk = MemoryDisk::new();
        let local = local(device(&disk, &fleet, flags));
        let mut world = World { fleet, disk, local };
        let one = artifact(&Spec::new(MODEL, 1));
        world.fleet.allow(&one);
        world.fleet.sequence = 1;
        let mut source = world.source(&[&one]);
        assert_eq!(world.follow(&mut source), End::Done, "{:?}", world.local.executor.state().report());
        world
    }

    /// An honest source that deploys `artifacts` next.
    pub(crate) fn source(&mut self, artifacts: &[&Artifact]) -> MemorySource {
        let deployment = self.fleet.deployment(artifacts);
        MemorySource {
            claim: Some(sign_deployment(&deployment, DEPLOY)),
            files: self.fleet.metadata(),
            manifests: artifacts.iter().map(|artifact| (artifact.digest, artifact.envelope.clone())).collect(),
            objects: artifacts.iter().flat_map(|artifact| artifact.objects.clone()).collect(),
        }
    }

    pub(crate) fn follow(&mut self, source: &mut dyn Source) -> End {
        self.follow_with(source, &mut |_| {})
    }

    /// Connects, and lets the job that follows take its bytes from `source`.
    pub(crate) fn follow_with(&mut self, source: &mut dyn Source, hook: Hook<'_>) -> End {
        let Local { executor, stopwatch, .. } = &mut self.local;
        executor.feed(Event::LinkUp, stopwatch.ms());
        assert_eq!(*executor.state().link(), LinkState::Up);
        let (job, _, trust) = executor.surroundings.pending.take().expect("a connection starts a job");
        let memory = executor.state().memory().clone();
        let (device, shared) = (Arc::clone(&executor.device), Arc::clone(&executor.shared));
        let mut line = Overheard { inner: OwnLine { executor, stopwatch: *stopwatch }, hook };
        let mut desk = JobDesk { job, line: &mut line, shared };
        let end = job::run(&device, (trust, memory), source, &mut desk);
        executor.feed(Event::Ended { job, end: end.clone() }, stopwatch.ms());
        end
    }

    pub(crate) fn active(&self) -> Option<u64> {
        self.local.executor.state().memory().models.get(MODEL)?.active.as_ref().map(|version| version.number)
    }

    pub(crate) fn sequence(&self) -> Option<u64> {
        self.local.executor.trust().expect("a trusted state").sequence(crate::fixture::CHANNEL)
    }

    /// What the device answers now.
    pub(crate) fn answers(&mut self) -> Vec<f32> {
        let input = Tensor::from_f32(vec![1, 1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]).expect("four pixels");
        let reply = self.local.infer(MODEL.to_owned(), vec![("x".to_owned(), input)], true).expect("an answer");
        let (_, output) = reply.outputs[0].tensor().expect("a tensor");
        output.to_f32_vec().expect("floats")
    }

    pub(crate) fn assert_answers(&mut self, number: u64) {
        assert_eq!(self.active(), Some(number));
        let expected = answer(number as f32, &[1.0, 2.0, 3.0, 4.0]);
        for (found, expected) in self.answers().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "version {number}: {found} is not {expected}");
        }
    }
}

/// What a test does to the fleet, with the attack or without it.
type Build = fn(&mut World, bool) -> MemorySource;

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

/// Version 2, allowed.
fn two(world: &mut World, change: impl FnOnce(&mut Spec)) -> Artifact {
    let mut spec = Spec::new(MODEL, 2);
    change(&mut spec);
    let artifact = artifact(&spec);
    world.fleet.allow(&artifact);
    artifact
}

const ATTACKS: &[(u8, &str, &str, Build)] = &[
    (1, "too-large", "a timestamp longer than its limit", |world, attack| {
        let two = two(world, |_| {});
        let mut source = world.source(&[&two]);
        if attack {
            let timestamp = source.files.get_mut(&FileName::Timestamp).expect("a timestamp");
            timestamp.resize(limits::TIMESTAMP_BYTES_MAX as usize + 1, b' ');
        }
        source
    }),
    (2, "signature-threshold", "a new root that the old one did not sign", |world, attack| {
        let two = two(world, |_| {});
        let mut source = world.source(&[&two]);
        let signers: &[u8] = if attack { &[STRANGER] } else { &[ROOT, STRANGER] };
        source.files.insert(FileName::Root(2), root(2, [STRANGER, RELEASE, DEPLOY], signers));
        source
    }),
    (3, "version-rollback", "metadata that was replaced already", |world, attack| {
        let two = two(world, |_| {});
        let fresh = world.source(&[&two]);
        if !attack {
            return fresh;
        }
        let version = std::mem::replace(&mut world.fleet.version, 5);
        let files = world.fleet.metadata();
        world.fleet.version = version;
        MemorySource { files, ..fresh }
    }),
    (3, "expired", "a timestamp past its expiry", |world, attack| {
        let two = two(world, |_| {});
        world.fleet.expires = if attack { now() - 10 } else { now() + 1000 };
        world.source(&[&two])
    }),
    (4, "sequence-replay", "an older deployment", |world, attack| {
        let two = two(world, |_| {});
        if attack {
            world.fleet.sequence = 0;
        }
        let source = world.source(&[&two]);
        world.fleet.sequence = world.fleet.sequence.max(2);
        source
    }),
    (4, "wrong-channel", "a deployment for another channel", |world, attack| {
        let two = two(world, |_| {});
        let source = world.source(&[&two]);
        let mut deployment = world.fleet.deployment(&[&two]);
        if attack {
            deployment.channel = "canary".to_owned();
        }
        MemorySource { claim: Some(sign_deployment(&deployment, DEPLOY)), ..source }
    }),
    (4, "wrong-fleet", "a deployment for another fleet", |world, attack| {
        let two = two(world, |_| {});
        let source = world.source(&[&two]);
        let mut deployment = world.fleet.deployment(&[&two]);
        if attack {
            deployment.fleet = "fleet-b".to_owned();
        }
        MemorySource { claim: Some(sign_deployment(&deployment, DEPLOY)), ..source }
    }),
    (4, "signature-threshold", "a deployment that release signed instead of deploy", |world, attack| {
        let two = two(world, |_| {});
        let source = world.source(&[&two]);
        let deployment = world.fleet.deployment(&[&two]);
        let signer = if attack { RELEASE } else { DEPLOY };
        MemorySource { claim: Some(sign_deployment(&deployment, signer)), ..source }
    }),
    (5, "digest-mismatch", "a manifest with a flipped byte", |world, attack| {
        let two = two(world, |_| {});
        let mut source = world.source(&[&two]);
        if attack {
            let envelope = Envelope::parse(&two.envelope).expect("an envelope");
            let mut payload = envelope.payload().to_vec();
            flip(&mut payload);
            // Even release's own signature does not make them the bytes that the deployment names.
            let forged = Envelope::sign(envelope.kind(), payload, &[&crate::fixture::key(RELEASE)]);
            source.manifests.insert(two.digest, forged.to_bytes());
        }
        source
    }),
    (5, "signature-threshold", "a manifest that a stranger signed", |world, attack| {
        let two = two(world, |spec| spec.signer = if attack { STRANGER } else { RELEASE });
        world.source(&[&two])
    }),
    (5, "not-allowed", "a manifest that targets do not list", |world, attack| {
        let two = artifact(&Spec::new(MODEL, 2));
        if !attack {
            world.fleet.allow(&two);
        }
        world.source(&[&two])
    }),
    (5, "denied", "a manifest on the deny-list", |world, attack| {
        let two = two(world, |spec| spec.bias = if attack { 3.0 } else { 2.0 });
        if attack {
            world.fleet.denied.entry(MODEL.to_owned()).or_default().insert(two.digest);
        }
        world.source(&[&two])
    }),
    (5, "under-floor", "a number under the floor", |world, attack| {
        let two = two(world, |_| {});
        world.fleet.floors.insert(MODEL.to_owned(), if attack { 3 } else { 2 });
        world.source(&[&two])
    }),
    (5, "unfit", "a variant that asks for more than the device has", |world, attack| {
        let two = two(world, |spec| {
            if attack {
                spec.requires.memory_bytes = 1 << 60;
            }
        });
        world.source(&[&two])
    }),
    (5, "unsupported-format", "a manifest of a newer format", |world, attack| {
        let two = two(world, |spec| {
            if attack {
                spec.change = |manifest| manifest.format = 2;
            }
        });
        world.source(&[&two])
    }),
    (6, "no-room", "a full disk", |world, attack| {
        let two = two(world, |_| {});
        let source = world.source(&[&two]);
        if attack {
            world.disk.fill_up(200);
        } else {
            world.disk.free_up();
        }
        source
    }),
    (7, "chunk-digest-mismatch", "a chunk with a flipped byte", |world, attack| {
        let two = two(world, |_| {});
        let mut source = world.source(&[&two]);
        if attack {
            flip(source.objects.get_mut(&two.model_chunks[0]).expect("a chunk"));
        }
        source
    }),
    (8, "file-digest-mismatch", "a signed manifest whose file is not the one in its chunks", |world, attack| {
        let two = two(world, |spec| {
            if attack {
                spec.change = |manifest| {
                    let file = manifest.variants[0].files.get_mut("model").expect("a model");
                    file.digest = Digest::of(b"another file");
                };
            }
        });
        world.source(&[&two])
    }),
    (9, "golden-mismatch", "signed golden answers that the model does not give", |world, attack| {
        let two = two(world, |spec| spec.golden_wrong = attack);
        world.source(&[&two])
    }),
];

#[test]
fn every_step_refuses_its_attack_and_takes_the_control() {
    let mut failures = Vec::new();
    for (step, reason, what, build) in ATTACKS {
        let mut world = World::new();
        let mut source = build(&mut world, true);
        let end = world.follow(&mut source);
        match &end {
            End::Refused(refusal) if (refusal.step, refusal.reason.as_str()) == (*step, reason) => {
                if refusal.message.len() < 30 {
                    failures.push(format!("{what}: the message says too little: {}", refusal.message));
                }
            }
            other => failures.push(format!("{what}: expected step {step} {reason}, found {other:?}")),
        }
        let reported = world.local.executor.state().report().models[0].refusal.clone();
        if reported.is_none_or(|refusal| refusal.reason != *reason) {
            failures.push(format!("{what}: the refusal is not reported"));
        }
        world.assert_answers(1);
        if world.sequence() != Some(2) {
            failures.push(format!("{what}: the refused deployment raised the sequence to {:?}", world.sequence()));
        }
        // Refusals of deployments with one digest are not held against the next deployment of the same device.
        let mut source = build(&mut world, false);
        let end = world.follow(&mut source);
        if end != End::Done {
            failures.push(format!("{what}: the control is not taken: {end:?}"));
            continue;
        }
        world.assert_answers(2);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn step_10_is_one_step_or_none() {
    let mut world = World::new();
    let two = two(&mut world, |_| {});
    let mut source = world.source(&[&two]);
    let disk = world.disk.clone();
    let full = &mut |event: &Event| {
        if matches!(event, Event::Proven { .. }) {
            disk.fill_up(0);
        }
    };
    let end = world.follow_with(&mut source, full);
    assert!(matches!(&end, End::Interrupted { why } if why.contains("missing")), "{end:?}");
    world.assert_answers(1);
    assert_eq!(world.sequence(), Some(2), "slot and sequence are one step");

    // A restart on what is on the disk knows nothing of the half-done step either; then there is room.
    world.disk.free_up();
    let World { fleet, disk, local: before } = world;
    drop(before);
    let mut world = World { local: local(device(&disk, &fleet, &Flags::default())), fleet, disk };
    world.assert_answers(1);
    assert_eq!(world.follow(&mut source), End::Done);
    world.assert_answers(2);
    assert_eq!(world.sequence(), Some(3));
}

#[test]
fn a_full_disk_says_how_much_is_missing() {
    let one = Manifest::parse(Envelope::parse(&artifact(&Spec::new(MODEL, 1)).envelope).expect("one").payload());
    let bytes = crate::device::model::bytes(&one.expect("a manifest").variants[0]);
    // Room for one version, and for all but a little of a second.
    let flags = Flags::of(&[("install.space_bytes_max", (2 * bytes - 10).to_string().as_str())]);
    let mut world = World::with(&flags);
    let two = two(&mut world, |_| {});
    let mut source = world.source(&[&two]);
    let End::Refused(refusal) = world.follow(&mut source) else { panic!("there is no room for two versions") };
    assert_eq!((refusal.step, refusal.reason.as_str()), (6, "no-room"));
    let missing: Vec<u64> = refusal.message.split(' ').filter_map(|word| word.parse().ok()).collect();
    assert!(missing.first().is_some_and(|bytes| (1..100).contains(bytes)), "{}", refusal.message);
    assert_eq!(crate::outcome::exit_code(&refusal), runtime_console::ExitCode::NoRoom);
    world.assert_answers(1);
}

#[test]
fn a_deployment_of_several_models_is_taken_whole_or_not_at_all() {
    for wrong in [true, false] {
        let mut world = World::new();
        let two = two(&mut world, |_| {});
        let other = artifact(&Spec { golden_wrong: wrong, ..Spec::new("wake-word", 1) });
        world.fleet.allow(&other);
        let mut source = world.source(&[&two, &other]);
        let end = world.follow(&mut source);
        let models = &world.local.executor.state().memory().models;
        let second = models.get("wake-word").and_then(|model| model.active.as_ref()).is_some();
        if wrong {
            assert!(matches!(&end, End::Refused(refusal) if refusal.model.as_deref() == Some("wake-word")), "{end:?}");
            assert!(!second);
            world.assert_answers(1);
        } else {
            assert_eq!(end, End::Done);
            assert!(second);
            world.assert_answers(2);
        }
    }
}

#[test]
fn going_back_is_a_deployment_and_fetches_nothing() {
    let mut world = World::new();
    let two = two(&mut world, |_| {});
    let mut source = world.source(&[&two]);
    assert_eq!(world.follow(&mut source), End::Done);
    let one = artifact(&Spec::new(MODEL, 1));
    let mut source = world.source(&[&one]);
    source.objects.clear();
    assert_eq!(world.follow(&mut source), End::Done, "the last good version's slot is whole");
    world.assert_answers(1);
}

#[test]
fn a_denied_active_model_stops_answering_and_the_last_good_takes_over() {
    let mut world = World::new();
    let two = two(&mut world, |_| {});
    let mut source = world.source(&[&two]);
    assert_eq!(world.follow(&mut source), End::Done);
    for (digest, left) in [(two.digest, Some(1)), (artifact(&Spec::new(MODEL, 1)).digest, None)] {
        world.fleet.denied.entry(MODEL.to_owned()).or_default().insert(digest);
        let mut source = MemorySource { files: world.fleet.metadata(), ..MemorySource::default() };
        assert_eq!(world.follow(&mut source), End::Nothing, "metadata alone, without a deployment");
        assert_eq!(world.active(), left);
        match left {
            Some(number) => world.assert_answers(number),
            None => {
                let input = Tensor::from_f32(vec![1, 1, 2, 2], vec![0.0; 4]).expect("four pixels");
                let failure = world.local.infer(MODEL.to_owned(), vec![("x".to_owned(), input)], false);
                let failure = failure.expect_err("nothing is left to answer");
                assert_eq!(failure.code(), runtime_console::ExitCode::NotTrusted, "{failure}");
            }
        }
    }
}

#[test]
fn the_steps_stand_in_the_source_in_their_order() {
    let source = include_str!("mod.rs");
    let body = source.split("fn in_order").nth(1).expect("the function");
    let numbers: Vec<u32> =
        body.lines().filter_map(|line| line.trim().strip_prefix("// Step ")?.split(':').next()?.parse().ok()).collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<u32>>());
}

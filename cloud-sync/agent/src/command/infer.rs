//! `edge-agent infer`

use std::path::PathBuf;

use runtime_artifact::Contract;
use runtime_console::{ExitCode, Failure};
use runtime_tensor::{NamedTensor, Tensor};
use serde::Serialize;

use super::Context;
use crate::admin::{AdminClient, DescribeReply, InferReplyBody, Request, WireTensor};
use crate::config::Flags;
use crate::input::{INPUT_BYTES_MAX, Label, label, prepare};
use crate::outcome::failed_as;

/// Values of a tensor that are shown to people.
const SHOWN_MAX: usize = 16;

/// Ask an installed model: a picture, .npy, .npz or JSON in, a label out
///
/// A picture (PNG, JPEG, BMP, PNM) becomes the model's input as its contract says; arrays must be what the model
/// takes. Through the running agent when there is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge-agent infer three.png --json")]
pub(super) struct Args {
    /// The input; what it is, its first bytes say
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model; may be left out where one is active
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// No other engine and no other version may answer
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: u32,
    model: String,
    artifact: String,
    version: String,
    number: u64,
    digest: String,
    engine: String,
    rung: u8,
    /// One for each sample; empty where the contract does not say how.
    labels: Vec<Label>,
    outputs: Vec<OutputShown>,
}

#[derive(Serialize)]
struct OutputShown {
    name: String,
    datatype: &'static str,
    shape: Vec<usize>,
    data: Vec<f64>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    let bytes =
        runtime_disk::read_bounded(&args.file, INPUT_BYTES_MAX).map_err(|error| failed_as(&error, ExitCode::Usage))?;
    let (name, contract, reply) = match AdminClient::connect(&context.folder)? {
        Some(agent) => {
            let described: DescribeReply = agent.ask(Request::Describe { model: args.model.clone() })?;
            let inputs = inputs(context, args, &bytes, &described.contract)?;
            let inputs = inputs.iter().map(WireTensor::from).collect();
            let agent = AdminClient::connect(&context.folder)?
                .ok_or_else(|| Failure::new(ExitCode::Unreachable, "the agent stopped in between"))?;
            let request = Request::Infer { model: described.name.clone(), inputs, strict: args.strict };
            let reply: InferReplyBody = agent.ask(request)?;
            (described.name, described.contract, reply)
        }
        None => {
            let mut local = super::status::open(context, &Flags::default())?;
            let (name, described) = local.describe(args.model.as_deref())?;
            let inputs = inputs(context, args, &bytes, &described.contract)?;
            let reply = local.infer(name.clone(), inputs, args.strict)?;
            (name, described.contract.clone(), reply)
        }
    };
    print(context, name, &contract, &reply)
}

fn inputs(context: &Context, args: &Args, bytes: &[u8], contract: &Contract) -> Result<Vec<NamedTensor>, Failure> {
    let prepared = prepare(bytes, contract)
        .map_err(|error| failed_as(&error, ExitCode::Usage).with_context(args.file.display()))?;
    prepared.notes.iter().for_each(|note| context.console.note(note));
    Ok(prepared.inputs)
}

fn print(context: &Context, model: String, contract: &Contract, reply: &InferReplyBody) -> Result<ExitCode, Failure> {
    let outputs: Result<Vec<NamedTensor>, String> = reply.outputs.iter().map(WireTensor::tensor).collect();
    let outputs = outputs.map_err(|error| Failure::new(ExitCode::Bug, format!("the answer is damaged: {error}")))?;
    let labels = label(&outputs, contract);
    let human = if labels.is_empty() {
        let line = |(name, tensor): &NamedTensor| format!("{name}: {}", crate::input::excerpt(tensor, SHOWN_MAX));
        outputs.iter().map(line).collect::<Vec<_>>().join("\n")
    } else {
        let line = |label: &Label| format!("{}  (score {:.4})", label.label, label.score);
        labels.iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let human = format!(
        "{human}\n{} {} (#{}) on {}, rung {}",
        reply.artifact, reply.version, reply.number, reply.engine, reply.rung
    );
    let shown = Shown {
        schema: 1,
        model,
        artifact: reply.artifact.clone(),
        version: reply.version.clone(),
        number: reply.number,
        digest: reply.digest.clone(),
        engine: reply.engine.clone(),
        rung: reply.rung,
        labels,
        outputs: outputs.iter().map(|(name, tensor)| output(name, tensor)).collect(),
    };
    context.console.data(&shown, &human);
    Ok(ExitCode::Ok)
}

fn output(name: &str, tensor: &Tensor) -> OutputShown {
    OutputShown {
        name: name.to_owned(),
        datatype: tensor.element().oip(),
        shape: tensor.shape().to_vec(),
        data: (0..tensor.len()).filter_map(|index| tensor.value_f64(index)).collect(),
    }
}

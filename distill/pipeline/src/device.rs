//! Which device trains.

use std::str::FromStr;

use distill_train::{TrainDevice, detect_cuda};
use runtime_console::Console;

use crate::error::{PipelineError, Result};

/// The value of `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DeviceChoice {
    /// The first GPU when there is one, else the processor.
    #[default]
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(DeviceChoice::Auto),
            None if text == "cpu" => Ok(DeviceChoice::Cpu),
            None if text == "cuda" => Ok(DeviceChoice::Cuda(0)),
            Some(("cuda", index)) => match index.parse() {
                Ok(index) => Ok(DeviceChoice::Cuda(index)),
                Err(_) => Err(format!("`{index}` is no GPU number")),
            },
            _ => Err("expected auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

/// Looks for the device; `auto` says on standard error what it chose and why.
pub(crate) fn resolve(choice: DeviceChoice, console: &Console) -> Result<TrainDevice> {
    let no_device =
        |index: usize, reason: String| PipelineError::NoDevice(format!("failed to use device cuda:{index}: {reason}"));
    match choice {
        DeviceChoice::Cpu => Ok(TrainDevice::Cpu),
        DeviceChoice::Cuda(index) => match detect_cuda() {
            Ok(count) if index < count => Ok(TrainDevice::Cuda(index)),
            Ok(count) => Err(no_device(index, format!("this machine has {count} GPUs, counted from 0"))),
            Err(reason) => Err(no_device(index, reason)),
        },
        DeviceChoice::Auto => match detect_cuda() {
            Ok(count) if count > 0 => {
                console.note("training on cuda:0");
                Ok(TrainDevice::Cuda(0))
            }
            Ok(_) => {
                console.note("training on the CPU: no GPU");
                Ok(TrainDevice::Cpu)
            }
            Err(reason) => {
                console.note(&format!("training on the CPU: {reason}"));
                Ok(TrainDevice::Cpu)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_parse() {
        let rows = [
            ("auto", Some(DeviceChoice::Auto)),
            ("cpu", Some(DeviceChoice::Cpu)),
            ("cuda", Some(DeviceChoice::Cuda(0))),
            ("cuda:3", Some(DeviceChoice::Cuda(3))),
            ("cuda:x", None),
            ("gpu", None),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse().ok(), expected, "{text}");
        }
    }
}

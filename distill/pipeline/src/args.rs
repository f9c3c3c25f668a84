//! Arguments that several subcommands share.

use std::path::Path;

use clap::Args;

use crate::data::{self, RawSet};
use crate::error::{At as _, Result};

/// How values of the data become values of the model's input.
#[derive(Clone, Debug, PartialEq, Args)]
pub(crate) struct ScaleArgs {
    /// Factor of every value of the data before the model sees it
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, help_heading = "Data")]
    pub(crate) scale: f32,
    /// Summand after the factor
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true, help_heading = "Data")]
    pub(crate) offset: f32,
    /// Shape of one sample for the model, such as 1,28,28, when the file has another
    #[arg(long, value_name = "SIZES", value_delimiter = ',', help_heading = "Data")]
    pub(crate) shape: Option<Vec<usize>>,
}

impl ScaleArgs {
    /// The preparation that these arguments name.
    pub(crate) fn preparation(&self) -> data::Preparation {
        data::Preparation { scale: self.scale, offset: self.offset }
    }

    /// Reads a data file and gives its samples the shape that these arguments name.
    pub(crate) fn read(&self, path: &Path) -> Result<RawSet> {
        data::read(path)?.shaped(self.shape.as_deref()).at(path.display())
    }
}

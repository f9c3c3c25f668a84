//! Arguments that several subcommands share.

use clap::Args;

/// How values of the data become values of the model's input.
#[derive(Clone, Copy, Debug, PartialEq, Args)]
pub(crate) struct ScaleArgs {
    /// Factor of every value of the data before the model sees it
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, help_heading = "Data")]
    pub(crate) scale: f32,
    /// Summand after the factor
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, allow_negative_numbers = true, help_heading = "Data")]
    pub(crate) offset: f32,
}

impl ScaleArgs {
    /// The preparation that these arguments name.
    pub(crate) fn preparation(self) -> crate::data::Preparation {
        crate::data::Preparation { scale: self.scale, offset: self.offset }
    }
}

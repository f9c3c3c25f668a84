//! The recipe: one TOML file that says everything about a run. Unknown keys are errors that name their line.

mod load;
mod schema;
mod template;

pub(crate) use load::{Loaded, load};
pub(crate) use schema::{
    ActivationName, ArtifactSection, BudgetSection, DataSection, Family, LossKind, NetworkSection, ObserverName,
    OptimizerName, QuantizeSection, ScheduleName, Share, TrainSection,
};
pub(crate) use template::{TemplateFacts, template};

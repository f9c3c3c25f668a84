//! The JSON of a request, read without a tree: tensor data stays text until its type and shape are known.

use std::borrow::Cow;
use std::fmt;

use runtime_tensor::TENSOR_RANK_MAX;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::TENSORS_MAX;

#[derive(Deserialize)]
pub(super) struct InferJson<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) parameters: Option<RequestParameters>,
    #[serde(borrow)]
    pub(super) inputs: Bounded<InputJson<'a>>,
    #[serde(borrow, default)]
    pub(super) outputs: Option<Bounded<OutputJson<'a>>>,
}

#[derive(Default, Deserialize)]
pub(super) struct RequestParameters {
    #[serde(default)]
    pub(super) binary_data_output: Option<bool>,
    #[serde(default)]
    pub(super) timeout: Option<u64>,
    #[serde(default)]
    pub(super) strict: Option<bool>,
    #[serde(default)]
    pub(super) sequence_id: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct InputJson<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) shape: Shape,
    #[serde(borrow)]
    pub(super) datatype: Cow<'a, str>,
    #[serde(default)]
    pub(super) parameters: Option<InputParameters>,
    #[serde(borrow, default)]
    pub(super) data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
pub(super) struct InputParameters {
    #[serde(default)]
    pub(super) binary_data_size: Option<u64>,
    #[serde(default)]
    pub(super) shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct OutputJson<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(default)]
    pub(super) parameters: Option<OutputParameters>,
}

#[derive(Default, Deserialize)]
pub(super) struct OutputParameters {
    #[serde(default)]
    pub(super) binary_data: Option<bool>,
    #[serde(default)]
    pub(super) classification: Option<u64>,
    #[serde(default)]
    pub(super) shared_memory_region: Option<IgnoredAny>,
}

/// A list that ends with an error before it takes much more memory than its text.
pub(super) struct Bounded<T>(pub(super) Vec<T>);

/// A shape that ends with an error at the largest number of axes.
pub(super) struct Shape(pub(super) Vec<u64>);

fn read_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    items_max: usize,
) -> Result<Vec<T>, D::Error> {
    struct List<T>(usize, std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {} items", self.0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == self.0 {
                    return Err(serde::de::Error::invalid_length(items.len() + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(List(items_max, std::marker::PhantomData))
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_list(deserializer, TENSORS_MAX).map(Self)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_list(deserializer, TENSOR_RANK_MAX).map(Self)
    }
}

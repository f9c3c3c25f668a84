//! Which rule finds the shapes of which operator.

use super::call::{Call, Found};
use super::{elementwise, layout, linear, made, movement, reduction, windows};
use crate::Node;

pub(crate) type Rule = fn(&Call<'_>) -> Found;

/// The rule for a node, or `None` when its operator is not known here.
pub(crate) fn rule_for(node: &Node) -> Option<Rule> {
    if !node.is_standard() {
        return None;
    }
    Some(match node.operator.as_str() {
        "Relu"
        | "Clip"
        | "Sigmoid"
        | "Tanh"
        | "HardSwish"
        | "HardSigmoid"
        | "LeakyRelu"
        | "Gelu"
        | "Elu"
        | "Selu"
        | "Celu"
        | "Mish"
        | "Softplus"
        | "Softsign"
        | "Exp"
        | "Log"
        | "Sqrt"
        | "Abs"
        | "Neg"
        | "Floor"
        | "Ceil"
        | "Round"
        | "Reciprocal"
        | "Erf"
        | "Sign"
        | "Sin"
        | "Cos"
        | "Identity"
        | "LRN"
        | "LpNormalization"
        | "InstanceNormalization"
        | "CumSum"
        | "ThresholdedRelu" => elementwise::unary,
        "Dropout" => elementwise::dropout,
        "Cast" => elementwise::cast,
        "Not" | "IsNaN" | "IsInf" => elementwise::logical_not,
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Mean" | "Sum" | "Mod" | "And" | "Or" | "Xor" => {
            elementwise::arithmetic
        }
        "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => elementwise::comparison,
        "Pow" | "PRelu" => elementwise::power,
        "Where" => elementwise::choice,
        "Softmax" | "LogSoftmax" | "Hardmax" => elementwise::along_axis,
        "BatchNormalization" => elementwise::batch_normalization,
        "LayerNormalization" => elementwise::layer_normalization,
        "Conv" => windows::convolution,
        "ConvInteger" => windows::convolution_integer,
        "QLinearConv" => windows::convolution_quantized,
        "MaxPool" | "AveragePool" | "LpPool" => windows::pool,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => windows::global_pool,
        "Gemm" => linear::gemm,
        "MatMul" => linear::matmul,
        "MatMulInteger" => linear::matmul_integer,
        "QLinearMatMul" => linear::matmul_quantized,
        "QuantizeLinear" => linear::quantize,
        "DequantizeLinear" => linear::dequantize,
        "DynamicQuantizeLinear" => linear::quantize_dynamically,
        "Flatten" => layout::flatten,
        "Reshape" => layout::reshape,
        "Transpose" => layout::transpose,
        "Squeeze" => layout::squeeze,
        "Unsqueeze" => layout::unsqueeze,
        "Concat" => movement::concat,
        "Slice" => movement::slice,
        "Pad" => movement::pad,
        "Gather" => movement::gather,
        "GatherElements" => movement::gather_elements,
        "Shape" => made::shape,
        "Size" => made::size,
        "Constant" => made::constant,
        "ConstantOfShape" => made::constant_of_shape,
        "Expand" => made::expand,
        "Tile" => movement::tile,
        "Split" => movement::split,
        "Resize" | "Upsample" => movement::resize,
        "OneHot" => made::one_hot,
        "Range" => made::range,
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "ReduceSumSquare" | "ReduceL1"
        | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" => reduction::reduce,
        "ArgMax" | "ArgMin" => reduction::argument,
        _ => return None,
    })
}

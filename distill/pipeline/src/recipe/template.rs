//! The commented recipe that `distill init` writes.

/// What is known about a model and its data.
pub(crate) struct TemplateFacts<'a> {
    pub(crate) model: &'a str,
    pub(crate) data: &'a str,
    pub(crate) name: &'a str,
    pub(crate) input: String,
    pub(crate) samples: usize,
    pub(crate) labelled: bool,
}

/// A recipe that quantizes the model as it is, with everything else commented out.
pub(crate) fn template(facts: &TemplateFacts<'_>) -> String {
    let TemplateFacts { model, data, name, input, samples, labelled } = facts;
    let budget = if *labelled {
        "# Points of accuracy below the float model, judged on the validation part with the device's own engine."
    } else {
        "# The data has no labels, so this is agreement: the share of validation samples, in points, for which the int8\n\
         # model may choose another class than the float model."
    };
    let text = |value: &str| toml_edit::Value::from(value).to_string().trim().to_owned();
    format!(
        "# A recipe for `distill run`. The model's input is {input}; the data has {samples} samples.\n\
         # Every commented value is the default, or an example where it says so.\n\n\
         # seed = 0                 # initial weights, order of samples, augmentation\n\n\
         [data]\n\
         file = {data}\n\
         # Parts are files or fractions of `file`; the test part is read once, at the end.\n\
         # test = 0.2\n\
         # validation = 0.15\n\
         # train = \"train.npz\"      # example; by default what the others leave\n\
         # calibration = 0.1        # example; by default up to 512 samples of the training part\n\
         # seed = 0                 # of the cut\n\
         # shape = [1, 28, 28]      # example: of one sample for the model, when the file has another\n\
         # scale = 1.0              # the model sees value * scale + offset\n\
         # offset = 0.0\n\
         # white = 255.0            # the value of full brightness in the data, for images\n\n\
         # A teacher: a file, or a family with sizes and a table [teacher.train].\n\
         # [teacher]\n\
         # model = \"teacher.onnx\"\n\n\
         [student]\n\
         model = {model}\n\
         # or a built-in family, which needs [train]:\n\
         # family = \"cnn\"           # mlp, cnn or dscnn\n\
         # channels = [16, 32]\n\
         # hidden = [64]\n\
         # control = false          # also train it without the teacher, to see what the teacher is worth\n\n\
         # Without this table the student is quantized as it is.\n\
         # [train]\n\
         # epochs = 20\n\
         # batch = 64\n\
         # learning_rate = 0.001\n\
         # optimizer = \"adamw\"      # or sgd, with momentum = 0.9\n\
         # weight_decay = 0.0001\n\
         # schedule = \"cosine\"      # or constant, or step with step_epochs and step_factor\n\
         # warmup = 0.05\n\
         # shift = 0                # move images by up to this many pixels\n\
         # copies = 8               # with a shift and kd: moved copies that teacher and student see\n\
         # loss = [{{ kind = \"ce\", weight = 1.0 }}, {{ kind = \"kd\", weight = 1.0, temperature = 4.0 }}]\n\n\
         [quantize]\n\
         # observer = \"minmax\"      # or mse, entropy, best, or percentile with percentile = 99.99; others are tried when the budget is missed\n\
         # per_channel = true\n\
         # pair_safe = false\n\
         # weight_bits = 8\n\
         # equalize = false         # even out channels between layers\n\
         # adaround = false         # round weights by what they do to a layer's output\n\
         # correct_bias = false     # take shifts of means out of the biases\n\
         # mixed_precision = false  # leave the most sensitive nodes in float while the budget is missed\n\
         # mixed_attempts = 24      # models that this measures at most\n\
         # activation = \"u8\"\n\
         # skip = []                # nodes that stay in float\n\n\
         [budget]\n\
         {budget}\n\
         max_drop = 1.0\n\
         # max_extra_errors = 5     # example: samples that only the float model gets right\n\
         # max_bytes = 100000       # example: of the int8 ONNX file\n\n\
         [artifact]\n\
         name = {name}\n\
         version = \"1.0.0\"\n\
         number = 1               # grows with every release\n\
         # sign_key = \"fleet/keys/release.key\"   # without it, sign later with `fleet artifact sign`\n\
         # labels = []              # what each class is called\n\
         # golden = 16              # cases of the self-test on devices\n",
        model = text(model),
        data = text(data),
        name = text(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_recipe_and_so_is_every_commented_line() {
        let facts = TemplateFacts {
            model: "models/a \"b\".onnx",
            data: "d.npz",
            name: "a",
            input: "f32[batch,3]".to_owned(),
            samples: 7,
            labelled: false,
        };
        let text = template(&facts);
        let recipe = super::super::load::parse(&text).unwrap();
        assert_eq!(recipe.student.model, Some("models/a \"b\".onnx".into()));
        assert!(recipe.train.is_none() && recipe.teacher.is_none());
        // Uncomment `key = value` and `[table]` lines; sizes beside `model` and parts of the student stay out.
        let student_extras = ["family", "channels", "hidden", "control"];
        let whole: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || (rest.contains(" = ") && !rest.contains(" with ")) => {
                    if student_extras.iter().any(|key| rest.starts_with(key)) {
                        format!("{line}\n")
                    } else {
                        format!("{rest}\n")
                    }
                }
                _ => format!("{line}\n"),
            })
            .collect();
        let recipe = super::super::load::parse(&whole).unwrap_or_else(|error| panic!("{error}\n{whole}"));
        assert_eq!(recipe.train.unwrap().epochs, 20);
    }
}

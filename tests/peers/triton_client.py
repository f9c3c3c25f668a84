#!/usr/bin/env python3
"""Exercises the local API with the real Triton client (PyPI `tritonclient[http]==2.73.0`).

    triton_client.py HOST:PORT MODEL FILE.npz

The file holds one array per input of the model, by name, and may hold one per output, which must then come back
byte for byte. For a model with one input and one output the names `inputs` and `outputs` do as well. Rows beyond the
model's batch are sent one after the other. Each check is printed; the exit code is 0 when all held.
"""

import asyncio
import sys

import numpy as np
import tritonclient.http as http
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

PROVENANCE = ("artifact", "version", "digest", "engine", "rung")
ROWS_MAX = 64
RAW_ONLY = ("FP16", "BF16")

failures = []


def check(name, held, detail=""):
    print(f"{'ok  ' if held else 'FAIL'} {name}{f': {detail}' if detail and not held else ''}", flush=True)
    if not held:
        failures.append(name)


def attempt(name, work):
    """Runs one check; an exception is its failure."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - every kind of failure is reported and the others still run
        check(name, False, f"{type(error).__name__}: {error}")


def read_cases(path, metadata):
    """Splits the file into requests: a list of ({input: array}, {output: array})."""
    arrays = np.load(path)
    inputs, outputs = metadata["inputs"], metadata["outputs"]

    def pick(specs, alias):
        if len(specs) == 1 and specs[0]["name"] not in arrays and alias in arrays:
            return {specs[0]["name"]: arrays[alias]}
        return {spec["name"]: arrays[spec["name"]] for spec in specs if spec["name"] in arrays}

    given, expected = pick(inputs, "inputs"), pick(outputs, "outputs")
    missing = [spec["name"] for spec in inputs if spec["name"] not in given]
    if missing:
        sys.exit(f"{path} lacks the inputs {', '.join(missing)}; it has {', '.join(arrays.files)}")
    for spec in inputs:
        given[spec["name"]] = given[spec["name"]].astype(triton_to_np_dtype(spec["datatype"]), copy=False)
    rows = min(ROWS_MAX, *(len(array) for array in given.values()))
    batch = inputs[0]["shape"][0]
    if batch == -1:
        slices = [slice(0, rows)]
    else:
        slices = [slice(row, row + batch) for row in range(0, rows - batch + 1, batch)]
    return [
        ({name: array[part] for name, array in given.items()}, {name: array[part] for name, array in expected.items()})
        for part in slices
    ]


def make_inputs(module, metadata, given, binary):
    made = []
    for spec in metadata["inputs"]:
        array = np.ascontiguousarray(given[spec["name"]])
        tensor = module.InferInput(spec["name"], list(array.shape), spec["datatype"])
        tensor.set_data_from_numpy(array, binary_data=binary or spec["datatype"] in RAW_ONLY)
        made.append(tensor)
    return made


def make_outputs(module, metadata, binary):
    if binary is None:
        return None
    return [
        module.InferRequestedOutput(spec["name"], binary_data=binary or spec["datatype"] in RAW_ONLY)
        for spec in metadata["outputs"]
    ]


def judge(name, metadata, result, expected, reference):
    """Compares a reply with the file, or with the first reply where the file has nothing, and reads its provenance."""
    reply = result.get_response()
    named = all(key in reply.get("parameters", {}) for key in PROVENANCE)
    check(f"{name} names {', '.join(PROVENANCE)}", named, str(reply.get("parameters")))
    for spec in metadata["outputs"]:
        found = result.as_numpy(spec["name"])
        wanted = expected.get(spec["name"], reference.setdefault(spec["name"], found))
        same = found is not None and found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes()
        check(f"{name} {spec['name']}", same, f"found {found!r}, expected {wanted!r}")


def questions(client, model):
    attempt("live", lambda: check("live", client.is_server_live()))
    attempt("ready", lambda: check("ready", client.is_server_ready()))
    attempt("model ready", lambda: check("model ready", client.is_model_ready(model)))
    attempt("unknown model is not ready", lambda: check("unknown model is not ready", not client.is_model_ready("nobody")))
    server = client.get_server_metadata()
    check("server metadata", {"name", "version", "extensions"} <= server.keys(), str(server))
    check("binary extension", "binary_tensor_data" in server["extensions"], str(server))
    metadata = client.get_model_metadata(model)
    check("model metadata", metadata["name"] == model and metadata["inputs"] and metadata["outputs"], str(metadata))
    version = metadata["versions"][0]
    check("version is an integer", version.isdigit(), version)
    check("metadata of the version", client.get_model_metadata(model, version) == metadata)
    config = client.get_model_config(model)
    check("config", config["name"] == model and len(config["input"]) == len(metadata["inputs"]), str(config))
    return metadata, version


def inferences(client, model, version, metadata, cases):
    given, expected = cases[0]
    reference = {}

    def infer(name, binary_in, binary_out, **options):
        inputs = make_inputs(http, metadata, given, binary_in)
        result = client.infer(model, inputs, outputs=make_outputs(http, metadata, binary_out), **options)
        judge(name, metadata, result, expected, reference)
        return result

    spelled = {None: "default", True: "binary", False: "JSON"}
    for binary_in in (True, False):
        for binary_out in (None, True, False):
            name = f"infer {spelled[binary_in]} in, {spelled[binary_out]} out"
            attempt(name, lambda: infer(name, binary_in, binary_out))
    for packing in ("gzip", "deflate"):
        for binary in (True, False):
            name = f"infer {packing} {spelled[binary]} both ways"
            options = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}
            attempt(name, lambda: infer(name, binary, binary, **options))

    def with_id():
        result = infer("infer with id and version", True, True, request_id="request-7", model_version=version)
        check("id is echoed", result.get_response().get("id") == "request-7", str(result.get_response()))

    attempt("infer with id and version", with_id)

    def all_cases():
        for row, (given, expected) in enumerate(cases):
            inputs = make_inputs(http, metadata, given, True)
            judge(f"case {row}", metadata, client.infer(model, inputs), expected, {})

    attempt("all cases", all_cases)

    def asynchronous():
        inputs = make_inputs(http, metadata, given, True)
        waiting = [client.async_infer(model, inputs) for _ in range(4)]
        for reply in waiting:
            judge("async infer", metadata, reply.get_result(), expected, reference)

    attempt("async infer", asynchronous)


def errors(client, model, metadata, given):
    def refused(name, work, status, part):
        try:
            work()
        except InferenceServerException as error:
            held = str(error.status()) == status and part in error.message()
            check(name, held, f"{error.status()}: {error.message()}")
        else:
            check(name, False, "it was answered")

    spec = metadata["inputs"][0]
    good = make_inputs(http, metadata, given, True)
    wrong_shape = http.InferInput(spec["name"], [1], spec["datatype"])
    wrong_shape.set_data_from_numpy(np.zeros(1, dtype=triton_to_np_dtype(spec["datatype"])))
    other = "FP64" if spec["datatype"] != "FP64" else "INT8"
    wrong_type = http.InferInput(spec["name"], list(given[spec["name"]].shape), other)
    wrong_type.set_data_from_numpy(given[spec["name"]].astype(triton_to_np_dtype(other)))
    stranger = http.InferInput("nobody", [1], "FP32")
    stranger.set_data_from_numpy(np.zeros(1, dtype=np.float32))
    rows = [
        ("error unknown model", lambda: client.infer("nobody", good), "404", "nobody"),
        ("error unknown version", lambda: client.infer(model, good, model_version="999999"), "404", "999999"),
        ("error wrong shape", lambda: client.infer(model, [wrong_shape]), "400", spec["name"]),
        ("error wrong type", lambda: client.infer(model, [wrong_type]), "400", spec["name"]),
        ("error unknown input", lambda: client.infer(model, [stranger]), "400", "nobody"),
        ("error metadata of nobody", lambda: client.get_model_metadata("nobody"), "404", "nobody"),
        (
            "error unknown output",
            lambda: client.infer(model, good, outputs=[http.InferRequestedOutput("nobody")]),
            "400",
            "nobody",
        ),
        (
            "error classification",
            lambda: client.infer(
                model, good, outputs=[http.InferRequestedOutput(metadata["outputs"][0]["name"], class_count=3)]
            ),
            "400",
            "classification",
        ),
    ]
    for name, work, status, part in rows:
        refused(name, work, status, part)


async def with_asyncio(address, model, metadata, case):
    given, expected = case
    async with http_aio.InferenceServerClient(address) as client:
        check("aio live", await client.is_server_live())
        check("aio model ready", await client.is_model_ready(model))
        check("aio metadata", await client.get_model_metadata(model) == metadata)
        reference = {}
        for binary in (True, False):
            inputs = make_inputs(http_aio, metadata, given, binary)
            outputs = make_outputs(http_aio, metadata, binary)
            result = await client.infer(model, inputs, outputs=outputs)
            judge(f"aio infer {'binary' if binary else 'JSON'}", metadata, result, expected, reference)
        packed = await client.infer(
            model,
            make_inputs(http_aio, metadata, given, True),
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        )
        judge("aio infer gzip", metadata, packed, expected, reference)
        try:
            await client.infer("nobody", make_inputs(http_aio, metadata, given, True))
        except InferenceServerException as error:
            check("aio error unknown model", "nobody" in error.message(), error.message())
        else:
            check("aio error unknown model", False, "it was answered")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    _, address, model, path = sys.argv
    client = http.InferenceServerClient(address, concurrency=4)
    metadata, version = questions(client, model)
    cases = read_cases(path, metadata)
    inferences(client, model, version, metadata, cases)
    errors(client, model, metadata, cases[0][0])
    asyncio.run(with_asyncio(address, model, metadata, cases[0]))
    client.close()
    if failures:
        sys.exit(f"{len(failures)} checks failed: {', '.join(failures)}")
    print("all checks held")


if __name__ == "__main__":
    main()

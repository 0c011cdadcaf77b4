"""What a model's file says of its input and its answers, so that a reader can feed it: columns, ranges, classes."""

import json
from math import prod

from fl.data.scaling import PublicRange
from fl.data.tabular_schema import Schema
from fl.export import ExportError
from fl.models.signature import Signature


def input_notes(schema: Schema, form: Signature) -> dict[str, str]:
    """`classes`: the names of the logits, in order; `inputs`: a JSON list, one entry a column of the table.

    A column of numbers says its range: low is sent to -1, high to +1, clipped, `log` by the logarithm. A column of
    words takes one input for each of its `values`, +1 for the one that is there and -1 for the others. Raises
    ExportError for a schema that does not fit the model.
    """
    inputs = None if None in form.input_shape else prod(side or 1 for side in form.input_shape)
    if form.codes or schema.inputs() != inputs or len(schema.classes) != form.classes:
        fed = "codes" if form.codes else f"{inputs or 'any number of'} inputs"
        raise ExportError(
            f"the schema has {schema.inputs()} inputs and {len(schema.classes)} classes, the model takes {fed} and has"
            f" {form.classes}"
        )
    columns = [
        {"column": each.name, "low": each.low, "high": each.high, "log": each.log}
        if isinstance(each, PublicRange)
        else {"column": each.name, "values": list(each.values)}
        for each in schema.features
    ]
    return {"classes": json.dumps(list(schema.classes)), "inputs": json.dumps(columns)}

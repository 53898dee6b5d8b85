"""MLServer with adaptive batching: a custom runtime, as its documentation shows for a model of one's own."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.model import NUMBERS, TEXTS, load


class Prices(MLModel):
    """The columns of a table in, a prediction per row out."""

    async def load(self) -> bool:  # noqa: D102
        self._model = load()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:  # noqa: D102
        table = PandasCodec.decode_request(payload)
        table = table.astype(dict.fromkeys(NUMBERS, "float32") | dict.fromkeys(TEXTS, "object"))
        answers = self._model.predict(table[[*NUMBERS, *TEXTS]])
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name="predict", payload=answers)]
        )

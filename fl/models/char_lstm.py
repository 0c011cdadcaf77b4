"""A recurrent network over characters. Arguments and shapes: arguments.py and shapes.py."""

from torch import Tensor, nn

from fl.models.arguments import CharLstmArguments


class CharLstm(nn.Module):
    """Input int64 codes [batch, time].

    Output: logits of the character after the last position, [batch, vocabulary]; with predict="all" of the one after
    every position, as [batch, vocabulary, time], the order in which cross-entropy takes them. "last" is the default:
    it feeds the same loss and the same evaluation as every other classifier here.
    """

    def __init__(self, arguments: CharLstmArguments) -> None:
        super().__init__()
        self._every_position = arguments.predict == "all"
        self.embedding = nn.Embedding(arguments.vocabulary, arguments.embedding)
        self.lstm = nn.LSTM(arguments.embedding, arguments.hidden, arguments.layers, batch_first=True)
        self.output = nn.Linear(arguments.hidden, arguments.vocabulary)

    def forward(self, codes: Tensor) -> Tensor:
        states, _ = self.lstm(self.embedding(codes))
        if self._every_position:
            every: Tensor = self.output(states).transpose(1, 2)
            return every
        last: Tensor = self.output(states[:, -1])
        return last

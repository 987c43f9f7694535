"""Networks of the lessons in PyTorch, with the names of jaxdl's layers."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


class LeNet(nn.Module):
    """Channels of 5×5; `pixels` are the numbers that the first dense layer reads."""

    def __init__(self, pixels=256, classes=10):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(pixels, 120), nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x):
        for conv in self.conv1, self.conv2:
            x = nn.functional.max_pool2d(torch.sigmoid(conv(x)), 2)
        x = torch.sigmoid(self.fc1(x.flatten(1)))
        return self.fc3(torch.sigmoid(self.fc2(x)))


class Names(nn.Module):
    """The lecture's classifier of names, whose packing keeps lengths on the CPU."""

    def __init__(self, classes=18, symbols=128, hidden=100):
        super().__init__()
        self.embedding = nn.Embedding(symbols, hidden)
        self.gru = nn.GRU(hidden, hidden, 2, bidirectional=True)
        self.fc = nn.Linear(2 * hidden, classes)

    def forward(self, text, lengths):
        vectors = self.embedding(text.t())
        packed = pack_padded_sequence(vectors, lengths.cpu(), enforce_sorted=False)
        hidden = self.gru(packed)[1]
        return self.fc(torch.cat([hidden[-1], hidden[-2]], dim=1))


class CharRNN(nn.Module):
    """hello to ohlol: letters embedded, two layers, a letter for each."""

    def __init__(self, letters=4):
        super().__init__()
        self.emb = nn.Embedding(letters, 10)
        self.rnn = nn.RNN(10, 8, 2, batch_first=True)
        self.fc = nn.Linear(8, letters)

    def forward(self, x):
        return self.fc(self.rnn(self.emb(x))[0])

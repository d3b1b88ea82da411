#!/usr/bin/env python3
"""Writes the .pt files beside it: good/ must read and come back byte for byte, bad/ is refused,
built/ is what the builder makes of the same values.

  python make_archives.py          (needs torch 2.13; the files are committed, tests do not run this)
"""
import collections
import io
import os
import pickle
import struct
import tarfile
import zipfile
import zlib

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = os.path.join(HERE, 'good')
BAD = os.path.join(HERE, 'bad')
BUILT = os.path.join(HERE, 'built')


def lay_out(records):
    """A container as PyTorch's writer makes it, from (name, bytes) pairs in the given order."""
    out, directory = bytearray(), bytearray()
    for name, data in records:
        name, offset, flags = name.encode(), len(out), 0x0808 if data else 0x0800
        padding = -(offset + 30 + len(name) + 4) % 64
        out += struct.pack('<IHHHHHIIIHH', 0x04034B50, 0, flags, 0, 0, 0, 0, 0, 0, len(name), 4 + padding)
        out += name + b'FB' + struct.pack('<H', padding) + b'Z' * padding + data
        crc = zlib.crc32(data)
        if data:
            out += struct.pack('<IIII', 0x08074B50, crc, len(data), len(data))
        directory += struct.pack('<IHHHHHHIIIHHHHHII', 0x02014B50, 0, 0, flags, 0, 0, 0, crc, len(data), len(data),
                                 len(name), 0, 0, 0, 0, 0, offset) + name
    start, count = len(out), len(records)
    out += directory
    end = len(out)
    out += struct.pack('<IQHHIIQQQQ', 0x06064B50, 44, 0x031E, 0x2D, 0, 0, count, count, len(directory), start)
    out += struct.pack('<IIQI', 0x07064B50, 0, end, 1)
    out += struct.pack('<IHHHHIIH', 0x06054B50, 0, 0, count, count, len(directory), start, 0)
    return bytes(out)


def records_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def write(path, data):
    with open(path, 'wb') as file:
        file.write(data)


def good(name):
    return os.path.join(GOOD, name)


def bad(name):
    return os.path.join(BAD, name)


def state_dict():
    return collections.OrderedDict(
        weight=torch.arange(12, dtype=torch.float32).reshape(3, 4), bias=torch.ones(3), step=torch.tensor(7.0))


def make_good():
    torch.save(state_dict(), good('plain.pt'))
    torch.save({'model': state_dict(), 'epoch': 3, 'big': 2**40, 'note': 'naïve ☃'}, good('protocol4.pt'), pickle_protocol=4)

    flat = torch.arange(20, dtype=torch.float32)
    torch.save({'flat': flat, 'view': flat[3:9], 'strided': flat[::2], 'matrix': flat[4:16].reshape(3, 4).t(),
                'tied': [flat[3:9], flat], 'zero': '0', 'keys': {'0': 1, '1': 2}}, good('shared.pt'))
    nothing = torch.empty(0)
    torch.save({'a': nothing, 'b': nothing, 'c': torch.empty(0, 5), 'd': torch.tensor(True), 'e': torch.empty(0, dtype=torch.int8)},
               good('empty.pt'))
    torch.save({'none': None, 'numbers': [1, 2, 3]}, good('no_storages.pt'))

    types = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64,
             torch.complex32, torch.complex64, torch.complex128, torch.bool, torch.bfloat16, torch.uint16, torch.uint32,
             torch.uint64, torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e5m2fnuz, torch.float8_e4m3fnuz,
             torch.float8_e8m0fnu]
    torch.save({str(dtype): torch.zeros(3, dtype=torch.uint8).to(torch.float32).to(dtype) for dtype in types}, good('dtypes.pt'))
    torch.save({'w': torch.arange(6, dtype=torch.bfloat16), 'h': torch.arange(6, dtype=torch.float16)}, good('bf16.pt'))

    tagged = torch.arange(5, dtype=torch.float32).requires_grad_()
    tagged.ds_id = '3_5'
    parameter = torch.nn.Parameter(torch.arange(4, dtype=torch.float32))
    parameter_with_state = torch.nn.Parameter(torch.arange(4, dtype=torch.float32))
    parameter_with_state.note = 'kept'
    torch.save({'tagged': tagged, 'parameter': parameter, 'with_state': parameter_with_state,
                'module_storage': torch.arange(4).untyped_storage()}, good('wrapped.pt'))

    torch.save([torch.full((2,), i, dtype=torch.float32) for i in range(13)], good('many.pt'))
    old = [(name.replace('many/', 'many_text_order/'), data) for name, data in records_of(good('many.pt'))]
    storages = sorted((record for record in old if '/data/' in record[0] and '/.data/' not in record[0]))
    front = [record for record in old if record[0].endswith('data.pkl')]
    back = [record for record in old if record[0].endswith('/version')]
    write(good('many_text_order.pt'), lay_out(front + storages + back))

    stream = io.BytesIO()
    torch.save(state_dict(), stream)
    write(good('stream.pt'), stream.getvalue())

    torch.serialization.set_crc32_options(False)
    torch.save(state_dict(), good('without_crc.pt'))
    torch.serialization.set_crc32_options(True)

    from torch.utils.serialization import config
    config.save.storage_alignment = 256
    torch.save(state_dict(), good('aligned_256.pt'))
    config.save.storage_alignment = 64

    with zipfile.ZipFile(good('zipfile.pt'), 'w', zipfile.ZIP_STORED) as archive:
        archive.comment = b'not written by PyTorch'
        archive.writestr('zipfile/', b'')
        for name, data in records_of(good('shared.pt')):
            archive.writestr(zipfile.ZipInfo(name.replace('shared/', 'zipfile/'), (2024, 1, 1, 0, 0, 0)), data)


def make_bad():
    with zipfile.ZipFile(bad('deflated.pt'), 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in records_of(good('plain.pt')):
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    torch.save(state_dict(), bad('legacy.pt'), _use_new_zipfile_serialization=False)
    with tarfile.open(bad('legacy_tar.pt'), 'w', format=tarfile.USTAR_FORMAT) as archive:
        for name in ('storages', 'tensors', 'pickle'):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    plain = records_of(good('plain.pt'))
    write(bad('big_endian.pt'), lay_out([(n, b'big' if n.endswith('byteorder') else d) for n, d in plain]))
    write(bad('no_pickle.pt'), lay_out([record for record in plain if not record[0].endswith('data.pkl')]))
    write(bad('missing_storage.pt'), lay_out([record for record in plain if not record[0].endswith('/data/1')]))
    write(bad('short_storage.pt'), lay_out([(n, d[:-1] if n.endswith('/data/0') else d) for n, d in plain]))
    write(bad('two_pickles.pt'), lay_out(plain + [('other/data.pkl', plain[0][1])]))
    write(bad('torchscript.pt'), lay_out(plain + [('plain/constants.pkl', b'\x80\x02).')]))
    write(bad('not_a_pickle.pt'), lay_out([(n, b'\x80\x02nonsense' if n.endswith('data.pkl') else d) for n, d in plain]))

    class Claim:
        """A tensor whose numbers are lies."""

        def __init__(self, offset, sizes, strides, numel=4):
            self.arguments = (offset, sizes, strides)
            self.numel = numel

        def __reduce__(self):
            return (torch._utils._rebuild_tensor_v2, (Persistent(self.numel), *self.arguments, False, collections.OrderedDict()))

    class Persistent:
        def __init__(self, numel):
            self.numel = numel

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ('storage', torch.FloatStorage, '0', 'cpu', obj.numel) if isinstance(obj, Persistent) else None

    claims = [Claim(0, (5,), (1,)), Claim(4, (1,), (1,)), Claim(0, (2**62, 2), (1, 2**62)), Claim(0, (2, 2), (1,)),
              Claim(-1, (2,), (1,)), Claim(0, (2,), (-1,)), Claim(0, (2**63, 2), (0, 0)), Claim(0, ('x',), (1,)),
              Claim(3, (1,), (1,)), Claim(0, (2**40,), (0,)), Claim(99, (0,), (1,))]
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(claims)
    write(good('claims.pt'), lay_out([('claims/data.pkl', stream.getvalue()), ('claims/byteorder', b'little'),
                                     ('claims/data/0', b'\x00' * 16), ('claims/version', b'3\n')]))
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump([Claim(0, (1,), (1,), 2**62)])
    write(bad('huge_storage.pt'), lay_out([('huge_storage/data.pkl', stream.getvalue()), ('huge_storage/data/0', b'\x00' * 16)]))


def built(name):
    return os.path.join(BUILT, name)


def make_built():
    """What ArchiveBuilder is to write byte for byte, CRCs aside; its test builds the same values."""
    torch.save({'param': torch.arange(12, dtype=torch.float32).reshape(3, 4), 'cat_dim': 0}, built('fp32.pt'))
    torch.save(torch.arange(6, dtype=torch.bfloat16), built('tensor.pt'))
    torch.save(torch.tensor(7.0), built('step.pt'))
    flat = torch.arange(8, dtype=torch.float32)
    torch.save(collections.OrderedDict([('a', flat[:6].view(2, 3)), ('b', flat[6:]), ('tied', flat[:6].view(2, 3)),
                                        ('none', torch.empty(0, 5)), ('half', torch.arange(3, dtype=torch.float16)),
                                        ('wide', torch.zeros(2, dtype=torch.uint8).to(torch.uint16))]), built('tied.pt'))
    torch.save({'shape': torch.Size([3, 4]), 'scalar': torch.Size([]), 'list': [1, -1, 256, 70000, 2**40], 'tuple': (0.9, 0.999),
                'bool': True, 'no': False, 'none': None, 'text': 'na\u00efve', 'empty': {}, 'ordered': collections.OrderedDict(),
                0: 'text', 'nothing': ()}, built('values.pt'))
    taken = torch.load(good('wrapped.pt'), weights_only=False)
    torch.save({'new': torch.arange(2, dtype=torch.float32), 'tagged': taken['tagged'], 'parameter': taken['parameter'],
                'tied': torch.load(good('shared.pt'))['tied']}, built('taken.pt'))


if __name__ == '__main__':
    torch.manual_seed(0)
    os.makedirs(GOOD, exist_ok=True)
    os.makedirs(BAD, exist_ok=True)
    os.makedirs(BUILT, exist_ok=True)
    make_good()
    make_bad()
    make_built()

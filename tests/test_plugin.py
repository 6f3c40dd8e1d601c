# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The compiler's plugin by itself: programs without a C library move within their process, at every point."""
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
IR = ROOT / 'tests/compiler/ir'
PLUGIN = ROOT / 'build/compiler/popcorn.so'
OUT = ROOT / 'build/obj/ir'
QEMU = {'x86-64': [], 'aarch64': ['qemu-aarch64-static'], 'riscv64': ['qemu-riscv64-static']}
PROGRAMS = sorted(p.stem for p in IR.glob('*.c') if p.stem not in ('bed', 'lib'))


@pytest.fixture(scope='session', autouse=True)
def plugin():
    subprocess.run(['make', '-s', str(PLUGIN.relative_to(ROOT))], cwd=ROOT, check=True, timeout=600)


def build(name, opt, isas, *more):
    out = OUT / f'{name}-O{opt}{"".join(more)}'
    out.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([IR / 'build', f'-O{opt}', '--isas', ','.join(isas), '--plugin', PLUGIN, '-o', out / name,
                           *more, IR / f'{name}.c'], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return out / name


def run(program, isa, *args):
    done = subprocess.run([*QEMU[isa], f'{program}-{isa}', *args], capture_output=True, text=True, timeout=60,
                          check=False)
    counts = dict(re.findall(r'(\w+) (\d+)\n', done.stderr))
    assert {'moves', 'frames', 'refused'} <= counts.keys(), f'exit {done.returncode}: {done.stderr}'
    return (done.returncode, done.stdout), {k: int(v) for k, v in counts.items()}


@pytest.fixture(params=PROGRAMS)
def program(request):
    """A program's name, and what it prints: made once by another compiler."""
    return request.param, (IR / f'{request.param}.out').read_text()


@pytest.mark.parametrize('opt', ['0', '2', '3', 's'])
def test_moves_at_every_point(program, opt):
    name, right = program
    built = build(name, opt, ['x86-64'])
    still, counts = run(built, 'x86-64')
    assert still[1] == right and counts['moves'] == 0
    moved, counts = run(built, 'x86-64', '1')
    assert moved == still
    assert counts['moves'] > 50 and counts['frames'] > counts['moves'] and counts['refused'] == 0


@pytest.mark.parametrize('how', ['clone-max=0', 'stride=3'])
def test_ways_back_and_short_strides(program, how):
    """All resumed in place, and with points between a few rounds of loops."""
    name, right = program
    built = build(name, '2', ['x86-64'], f'--opt-args=-popcorn-{how}')
    assert run(built, 'x86-64', '1')[0][1] == right
    assert run(built, 'x86-64', '3', '2')[0][1] == right


@pytest.mark.parametrize('isa', ['aarch64', 'riscv64'])
def test_moves_on_each_isa(program, isa):
    name, right = program
    built = build(name, '2', [isa])
    for args in ([], ['1'], ['7', '3']):
        assert run(built, isa, *args)[0][1] == right

"""Data sets: the mixtures against their mathematics, the images against pictures made here."""

import math
import os
import pickle
import struct
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from common.args import RunError
from common.data import TORCHVISION, Cloud, Images, Points, digits, fixed_sample, labelled_images, load_data, own_data

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Where decoded folders go: nothing may be written to the real home."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "cleangan"


# --- mixtures in the plane


def test_ring_is_eight_means_at_equal_angles_on_radius_two():
    modes = load_data("ring").modes.double()
    angles = torch.atan2(modes[:, 1], modes[:, 0]).sort().values
    assert modes.shape == (8, 2)
    assert torch.allclose(modes.norm(dim=1), torch.tensor(2.0).double(), atol=1e-6)
    assert torch.allclose(angles.diff(), torch.tensor(torch.pi / 4).double(), atol=1e-6)


def test_grid_is_five_by_five_means_two_apart():
    want = {(float(x), float(y)) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
    modes = load_data("grid").modes
    assert len(modes) == 25 and {tuple(mode) for mode in modes.tolist()} == want


@pytest.mark.parametrize("name, std", [("ring", 0.02), ("grid", 0.05)])
def test_points_are_round_gaussians_with_equal_shares(name, std):
    data, n = load_data(name), 80_000
    torch.manual_seed(0)
    points = data.sample(n)
    assert points.shape == (n, *data.shape) and points.dtype == torch.float32
    mode = torch.cdist(points, data.modes).argmin(dim=1)
    fair, noise = 1 / len(data.modes), (points - data.modes[mode]) / std
    share = mode.bincount(minlength=len(data.modes)) / n
    assert (share - fair).abs().max() < 5 * (fair / n) ** 0.5
    for i in range(len(data.modes)):  # about each mean: no offset
        assert noise[mode == i].mean(dim=0).abs().max() < 5 / (n * fair) ** 0.5
    assert (noise.T.cov() - torch.eye(2)).abs().max() < 0.03  # sd right in both axes, which are uncorrelated
    assert (noise.norm(dim=1) < 3).float().mean().item() == pytest.approx(1 - np.exp(-4.5), abs=0.002)


# --- sampling


@pytest.fixture(params=["ring", "grid", "images", "stacked"])
def data(request):
    if request.param in ("ring", "grid"):
        return load_data(request.param)
    noise = torch.randint(256, (50, 1, 4, 4), dtype=torch.uint8, generator=seeded(0))
    return Images(noise, torch.device("cpu"), stack=3 if request.param == "stacked" else 1)


def test_a_sample_follows_the_global_seed(data):
    def sample(seed):
        torch.manual_seed(seed)
        return data.sample(20)

    first, again, other = sample(1), sample(1), sample(2)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(data.sample(20), data.sample(20))


def test_a_fixed_sample_is_always_the_same_and_leaves_the_random_numbers_alone(data):
    torch.manual_seed(1)
    first, expected = fixed_sample(data, 20), torch.randn(3)
    torch.manual_seed(1)
    assert torch.equal(torch.randn(3), expected)
    assert torch.equal(fixed_sample(data, 20), first) and not torch.equal(data.sample(20), first)


def test_images_are_drawn_uniformly_with_replacement():
    images = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    torch.manual_seed(0)
    drawn = (Images(images, torch.device("cpu")).sample(20_000) + 1) * 127.5
    share = drawn.flatten().round().long().bincount(minlength=10) / 20_000
    assert len(share) == 10 and (share - 0.1).abs().max() < 5 * (0.1 / 20_000) ** 0.5


def test_all_byte_values_are_scaled_linearly_with_black_minus_one_and_white_one():
    one = Images(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16), torch.device("cpu"))
    values = one.sample(1).flatten()
    assert values.dtype == torch.float32 and values[0] == -1 and values[-1] == 1
    assert torch.allclose(values.double(), torch.linspace(-1, 1, 256, dtype=torch.float64), atol=1e-6)


def test_images_too_large_for_the_gpu_stay_on_the_host_and_are_sampled_from_there(monkeypatch):
    images = torch.full((4, 1, 2, 2), 255, dtype=torch.uint8)  # 16 bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (16, 1000))
    data = Images(images, torch.device("cuda"))
    assert not data.on_device and data.images.device.type == "cpu"
    data.device = torch.device("cpu")  # so that this needs no GPU
    assert torch.equal(data.sample(3), torch.ones(3, 1, 2, 2))


def test_on_the_cpu_data_is_on_the_device(data):
    assert data.on_device


# --- one's own data


class Thing:
    """Somebody's object: samples of `shape` that draw() gives."""

    def __init__(self, shape, draw):
        self.shape, self.sample = shape, draw


CPU = torch.device("cpu")
CLOUD = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
BYTES = torch.arange(4 * 256).remainder(256).view(4, 1, 16, 16).byte()
OWN = {
    "points": CLOUD,
    "points in double": CLOUD.double(),
    "images": BYTES,
    "Points": Points(CLOUD, 0.1),
    "Cloud": Cloud(CLOUD),
    "Images": Images(BYTES, CPU),
    "object of points": Thing((2,), lambda n: torch.ones(n, 2)),
    "object of images": Thing(torch.Size([3, 32, 32]), lambda n: torch.ones(n, 3, 32, 32)),
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_own_data_have_a_shape_and_samples_of_it(own):
    data = own_data(own, CPU)
    sample = data.sample(5)
    assert sample.shape == (5, *data.shape) and sample.dtype == torch.float32 and type(data.shape) is tuple
    if isinstance(own, torch.Tensor) and own.dim() == 2:
        assert all(any(torch.equal(point, row) for row in CLOUD) for point in sample)
    if isinstance(own, torch.Tensor) and own.dim() == 4:
        assert sample.min() == -1 and sample.max() == 1


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_own_data_on_the_cpu_go_to_the_device_of_the_run(own):
    """The device meta stands for a GPU."""
    assert own_data(own, torch.device("meta")).sample(3).device.type == "meta"


def test_an_object_may_know_its_modes_and_say_that_it_is_on_the_device():
    thing = Thing((2,), lambda n: torch.ones(n, 2))
    data = own_data(thing, CPU)
    assert not hasattr(data, "modes") and not getattr(data, "on_device", False)
    thing.modes, thing.std, thing.on_device = CLOUD, 0.1, True
    data = own_data(thing, CPU)
    assert data.modes is CLOUD and data.std == 0.1 and data.on_device


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (torch.rand(4, 3, 16, 16), r"tensor \(4, 3, 16, 16\) of torch.float32: .*uint8"),
        (torch.zeros(4, 16, 16, dtype=torch.uint8), r"images \[N, C, H, W\] of uint8"),
        (torch.zeros(4, 16, 16, 3, dtype=torch.uint8), "size a power of two"),
        (torch.zeros(4, 5, 16, 16, dtype=torch.uint8), "at most 4 channels"),
        (torch.zeros(4, 1, 28, 28, dtype=torch.uint8), r"shape \(1, 28, 28\).*pad or resize"),
        (torch.zeros(4, 1, 4, 4, dtype=torch.uint8), "8 or more"),
        (torch.zeros(4, 1, 16, 32, dtype=torch.uint8), "size a power of two"),
        (torch.tensor([[0.0, math.nan]]), "finite floats"),
        (torch.tensor([[0.0, math.inf]]), "finite floats"),
        (torch.zeros(4, 3), r"points \[N, 2\]"),
        (torch.zeros(4, 2, dtype=torch.long), "finite floats"),
        (torch.zeros(4), r"points \[N, 2\]"),
        (torch.tensor(1.0), r"points \[N, 2\]"),
        ([[0.0, 1.0]], "data is a list: it must be a tensor, or have .shape and .sample"),
        (np.zeros((4, 2)), "data is a ndarray"),
        (Thing((3,), None), r"shape \(3,\): it must be \(2,\)"),
        (Thing((1, 28, 28), None), "pad or resize"),
    ],
)
def test_other_data_are_refused_with_a_sentence(own, said):
    with pytest.raises(RunError, match=said) as end:
        own_data(own, CPU)
    assert "\n" not in str(end.value)


@pytest.mark.parametrize("own", [torch.empty(0, 2), torch.empty(0, 1, 16, 16, dtype=torch.uint8)])
def test_no_data_are_refused(own):
    with pytest.raises(RunError):
        own_data(own, CPU)


# --- the digits that scikit-learn ships


def test_digits_are_the_1797_of_scikit_learn_in_17_grey_levels():
    data = load_data("digits", image_size=32)  # 8x8 whatever the size
    assert data.images.shape == (1797, 1, 8, 8) and data.images.dtype == torch.uint8
    levels = [round(i * 255 / 16) for i in range(17)]
    assert data.images.unique().tolist() == levels
    zero = [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]  # the first rows of the first digit
    assert data.images[0, 0, :2].tolist() == [[levels[i] for i in row] for row in zero]


def test_digits_for_training_and_for_tests_are_all_of_them_and_each_once():
    everything, labels = digits()
    parts = [labelled_images("digits", "", 8, train) for train in (True, False)]
    assert [len(images) for images, _ in parts] == [1437, 360]
    found = torch.cat([torch.cat([images.flatten(1), y[:, None]], 1) for images, y in parts])
    expected = torch.cat([everything.flatten(1), labels[:, None]], 1)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    assert all(0.06 < share < 0.14 for _, y in parts for share in (y.bincount() / len(y)).tolist())


def test_stacked_digits_have_three_independent_digits_per_image():
    data = load_data("stacked_digits")
    x = data.sample(4000)
    assert data.shape == (3, 8, 8) and x.min() == -1 and x.max() == 1
    ink = x.mean((2, 3)) - x.mean((0, 2, 3))
    assert ink.T.corrcoef().fill_diagonal_(0).abs().max() < 0.08  # 5 standard deviations


# --- the sets of torchvision, from files made here


def write_idx(folder, images):
    """The four files that torchvision.datasets.MNIST looks for, with these training images."""
    folder.mkdir(parents=True)
    images = np.asarray(images, dtype=np.uint8)
    (folder / "train-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, *images.shape) + images.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, len(images)) + bytes(len(images)))
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (folder / name).touch()


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_digits_are_padded_with_black_to_32(tmp_path, name, folder):
    digits = np.random.default_rng(0).integers(1, 256, (3, 28, 28))
    write_idx(tmp_path / folder / "raw", digits)
    data = load_data(name, str(tmp_path))
    assert data.shape == (1, 32, 32) and data.images.dtype == torch.uint8
    assert np.array_equal(data.images[:, 0, 2:-2, 2:-2].numpy(), digits)
    border = torch.ones(32, 32, dtype=torch.bool)
    border[2:-2, 2:-2] = False
    sample = data.sample(5)
    assert sample.shape == (5, 1, 32, 32)
    assert (sample[:, 0, border] == -1).all() and (sample[:, 0, ~border] > -1).all()


def test_another_image_size_resizes_the_padded_digit(tmp_path):
    digits = np.zeros((2, 28, 28))
    digits[0] = 255
    digits[1, :, :14] = 255  # the left half
    write_idx(tmp_path / "MNIST" / "raw", digits)
    data = load_data("mnist", str(tmp_path), image_size=64)
    full, left = data.images[:, 0].double() / 255
    assert data.shape == (1, 64, 64) and data.sample(2).shape == (2, 1, 64, 64)
    assert full.mean().item() == pytest.approx((28 / 32) ** 2, abs=0.005)
    assert (full[5:-5, 5:-5] == 1).all() and (full[:3] == 0).all() and (full[:, -3:] == 0).all()
    assert (left[5:-5, 5:31] == 1).all() and (left[:, 33:] == 0).all()


def test_a_smaller_image_size_averages_and_does_not_skip_pixels(tmp_path):
    digits = np.zeros((1, 28, 28))
    digits[:, :, ::4] = digits[:, :, 1::4] = 255  # stripes two wide, on for two columns, off for two
    write_idx(tmp_path / "MNIST" / "raw", digits)
    inner = load_data("mnist", str(tmp_path), image_size=16).images[0, 0, 4:-4, 4:-4].double()
    assert inner.mean().item() == pytest.approx(127.5, abs=2)
    assert inner.max() - inner.min() < 200  # picking nearest pixels would leave 0 and 255


def test_stacked_mnist_has_three_independent_digits_per_image(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw", np.arange(10)[:, None, None] * np.full((28, 28), 20))
    data, n = load_data("stacked_mnist", str(tmp_path)), 5000
    sample = data.sample(n)
    assert data.shape == (3, 32, 32) and sample.shape == (n, 3, 32, 32)
    inner = sample[:, :, 2:-2, 2:-2].flatten(2)
    assert torch.equal(inner.amin(2), inner.amax(2))  # every channel is one whole digit
    digit = ((inner[:, :, 0] + 1) * 127.5 / 20).round().long()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        joint = (digit[:, i] * 10 + digit[:, j]).bincount(minlength=100) / n
        assert (joint - 0.01).abs().max() < 5 * (0.01 / n) ** 0.5


@pytest.mark.parametrize("name, kind", [("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")])
def test_cifar_keeps_its_planes_in_the_order_red_green_blue(tmp_path, monkeypatch, name, kind):
    from torchvision import datasets

    kind = getattr(datasets, kind)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda path, md5=None: os.path.isfile(path))
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    planes = np.random.default_rng(0).integers(0, 256, (2 * len(kind.train_list), 3, 32, 32), dtype=np.uint8)
    for i, (file, _) in enumerate(kind.train_list + kind.test_list):
        part = planes[2 * i : 2 * i + 2].reshape(-1, 3072)
        (folder / file).write_bytes(pickle.dumps({"data": part, "labels": [0, 0], kind.meta["key"]: ["a"]}))
    (folder / kind.meta["filename"]).write_bytes(pickle.dumps({kind.meta["key"]: ["a"]}))
    data = load_data(name, str(tmp_path))
    assert data.shape == (3, 32, 32) and np.array_equal(data.images.numpy(), planes)


def test_celeba_is_the_centred_square_of_its_folder_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.CelebA", lambda root, split, download: None)
    face = Image.new("RGB", (178, 218), RED)
    face.paste(GREEN, (0, 20, 178, 198))
    save(face, tmp_path / "celeba" / "img_align_celeba" / "000001.png")
    data = load_data("celeba", str(tmp_path), image_size=64)
    assert data.shape == (3, 64, 64) and pixels_are(data.images[0, :, 1:-1], GREEN)


@pytest.mark.parametrize("name, kind, folder", [(name, *where) for name, where in TORCHVISION.items()])
def test_missing_files_without_a_network_give_what_to_do(tmp_path, monkeypatch, name, kind, folder):
    def offline(*args, **kwargs):
        raise RuntimeError("Error downloading x:\nname or service not known")

    monkeypatch.setattr(f"torchvision.datasets.{kind}", offline)
    with pytest.raises(RunError) as end:
        load_data(name, str(tmp_path))
    assert str(end.value).startswith(f"{name}: ")
    for words in (str(tmp_path / folder), "--data-root", "(name or service not known)"):
        assert words in str(end.value)


def test_an_error_without_words_is_told_by_its_kind(monkeypatch):
    def fail(*args, **kwargs):
        raise TimeoutError

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    with pytest.raises(RunError, match="TimeoutError"):
        load_data("mnist")


def test_a_damaged_file_of_a_set_is_refused(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw", np.zeros((2, 28, 28)))
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"cut off")
    with pytest.raises(RunError, match="mnist: cannot be read"):
        load_data("mnist", str(tmp_path))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(RunError) as end:
        load_data("mnits")
    for name in ("mnits", "ring", "grid", *TORCHVISION, "folder"):
        assert name in str(end.value)


# --- a folder of images


def save(image, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **options)


def pixels_are(image, colour, atol=0):
    return (image.int() - torch.tensor(colour, dtype=torch.int).view(-1, 1, 1)).abs().max() <= atol


def load_folder(root, image_size=32):
    return load_data("folder", str(root), image_size).images


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def test_all_formats_and_sizes_are_found_at_any_depth_and_other_files_ignored(pictures, capsys):
    files = ["a.png", "b.jpg", "c/d.bmp", "c/e.gif", "c/f/g.webp", "c/f/h.tiff", "i.JPEG"]
    colours = [(20 * i, 250 - 30 * i, 100) for i in range(len(files))]
    for i, (file, colour) in enumerate(zip(files, colours, strict=True)):
        save(Image.new("RGB", (20 + 15 * i, 80 - 9 * i), colour), pictures / file)
    (pictures / "notes.txt").write_text("not an image")
    (pictures / "c" / "labels.csv").write_text("1,2")
    (pictures / "folder.png").mkdir()
    images = load_folder(pictures)
    assert images.shape == (len(files), 3, 32, 32) and images.dtype == torch.uint8
    for image, colour in zip(images, colours, strict=True):  # in the order of the names
        assert pixels_are(image, colour, atol=4)  # JPEG and WebP lose a little
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size, box", [((96, 32), (32, 0, 64, 32)), ((32, 96), (0, 32, 32, 64))])
def test_the_centred_square_is_cut_out(pictures, size, box):
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (0, 0, size[0] // 2, size[1] // 2))
    image.paste(GREEN, box)
    save(image, pictures / "a.png")
    assert pixels_are(load_folder(pictures)[0], GREEN)


def test_a_lossless_image_of_the_right_size_comes_exactly_as_channels_height_width(pictures):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    save(Image.fromarray(pixels), pictures / "a.png")
    data = load_data("folder", str(pictures))
    assert data.shape == (3, 32, 32)
    assert np.array_equal(data.images[0].numpy(), pixels.transpose(2, 0, 1))


def test_greyscale_images_alone_make_one_channel_and_among_colours_three(pictures):
    for name, mode, value in (
        ("a.png", "L", 7),
        ("b.png", "LA", (7, 255)),
        ("c.bmp", "1", 1),
        ("d.jpg", "L", 7),
    ):
        save(Image.new(mode, (40, 40), value), pictures / name)
    grey = load_folder(pictures)
    assert grey.shape == (4, 1, 32, 32)
    assert grey.flatten(1).unique(dim=1).T.tolist() == [[7, 7, 255, 7]]
    save(Image.new("RGB", (32, 32), (1, 2, 3)), pictures / "e.png")
    mixed = load_folder(pictures)
    assert mixed.shape == (5, 3, 32, 32)
    assert torch.equal(mixed[:4], grey.expand(4, 3, 32, 32)) and pixels_are(mixed[4], (1, 2, 3))


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_of_grey_are_scaled_to_eight(pictures, ending, channels):
    values = np.linspace(0, 65535, 32 * 32).astype(np.uint16).reshape(32, 32)
    if ending == "pgm":  # older Pillows read these, and do not write them
        (pictures / "a.pgm").write_bytes(b"P5 32 32 65535\n" + values.astype(">u2").tobytes())
    else:
        save(Image.fromarray(values), pictures / f"a.{ending}")
    if channels == 3:
        save(Image.new("RGB", (32, 32), RED), pictures / "b.png")
    image = load_folder(pictures)[0].double()
    assert image.shape == (channels, 32, 32)
    assert np.abs(image.numpy() - values / 257).max() <= 1


def test_the_orientation_in_exif_is_honoured(pictures):
    stored = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    save(Image.fromarray(stored), pictures / "a.png", exif=exif)
    shown = np.rot90(stored, k=-1)
    assert np.array_equal(load_folder(pictures)[0].numpy(), shown.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_other_colour_modes_become_three_channels(pictures, mode):
    colour = (204, 51, 0)  # in the web palette
    save(Image.new("RGB", (32, 32), colour).convert(mode), pictures / ("a.tiff" if mode == "CMYK" else "a.png"))
    with Image.open(next(pictures.iterdir())) as image:
        assert image.mode == mode
    images = load_folder(pictures)
    assert images.shape == (1, 3, 32, 32) and pixels_are(images[0], colour)


def test_damaged_files_are_named_counted_and_skipped(pictures, capsys):
    for name, colour in (("a.png", RED), ("z.png", BLUE)):
        save(Image.new("RGB", (32, 32), colour), pictures / name)
    (pictures / "junk.png").write_text("no picture")
    save(Image.effect_noise((200, 200), 90).convert("RGB"), pictures / "half.jpg")
    (pictures / "half.jpg").write_bytes((pictures / "half.jpg").read_bytes()[:9000])
    data = load_data("folder", str(pictures))
    assert len(data.images) == 2 and pixels_are(data.images[0], RED) and pixels_are(data.images[1], BLUE)
    said = capsys.readouterr().out
    assert "2 of 4" in said and "junk.png" in said and "half.jpg" in said
    assert "a.png" not in said and "z.png" not in said


def test_pixels_without_a_range_are_not_taken_for_black(pictures, capsys):
    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    save(Image.new("F", (32, 32), 0.5), pictures / "float.tiff")
    assert len(load_folder(pictures)) == 1
    said = capsys.readouterr().out
    assert "1 of 2" in said and "float.tiff" in said and "floating-point" in said


def test_a_damaged_file_does_not_make_a_grey_folder_colourful(pictures):
    save(Image.new("L", (32, 32), 7), pictures / "a.png")
    (pictures / "junk.png").write_text("no picture")
    assert load_folder(pictures).shape == (1, 1, 32, 32)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_unicode_are_read_and_reported(pictures, capsys):
    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    for name in (b"caf\xe9.png", b"th\xe9.png"):  # Latin-1
        with open(os.path.join(os.fsencode(pictures), name), "wb") as file:
            file.write((pictures / "a.png").read_bytes() if name.startswith(b"caf") else b"no picture")
    assert len(load_folder(pictures)) == 2
    said = capsys.readouterr().out
    assert "1 of 3" in said and "th\\udce9.png" in said and said.encode()


def test_a_folder_of_damaged_files_only_is_refused(pictures, cache):
    (pictures / "a.png").write_text("no picture")
    with pytest.raises(RunError, match="can.* be read") as end:
        load_folder(pictures)
    assert str(pictures) in str(end.value) and not list(cache.iterdir())


def test_a_folder_without_images_is_refused(pictures):
    (pictures / "notes.txt").touch()
    with pytest.raises(RunError, match="no images below .*Pillow") as end:
        load_folder(pictures)
    assert str(pictures) in str(end.value)


def test_linked_folders_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (16, 16), RED).save(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "class").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "images")  # and back: once is enough
    assert load_data("folder", tmp_path / "images", 16).images.shape == (1, 3, 16, 16)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(RunError, match="--data-root") as end:
        load_folder(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(end.value)


# --- the cache of a folder


def refuse(*args, **kwargs):
    raise AssertionError("decoded again")


def test_the_second_load_decodes_nothing(pictures, cache, monkeypatch):
    for i in range(3):
        save(Image.effect_noise((40, 40), 50), pictures / f"{i}.png")
    first = load_folder(pictures).clone()
    assert len(list(cache.iterdir())) == 1 and not list(cache.glob("*.tmp"))
    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.chdir(pictures.parent)
    for path in (pictures, pictures.name):  # the same folder under two names
        assert torch.equal(load_folder(path), first) and len(list(cache.iterdir())) == 1


def later(file, image):  # of the same size in bytes: only the time tells
    stat = file.stat()
    image.save(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert file.stat().st_size == stat.st_size


def larger(file, image):  # at the same time: only the size tells
    stat = file.stat()
    image.resize((64, 64)).save(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    "change, count",
    [
        (later, 2),
        (larger, 2),
        (lambda file, image: image.save(file.with_name("c.bmp")), 3),
        (lambda file, image: file.unlink(), 1),
        (lambda file, image: file.rename(file.with_name("c.bmp")), 2),
    ],
    ids=["later", "larger", "added", "removed", "renamed"],
)
def test_a_changed_folder_is_decoded_again(pictures, change, count):
    for name, colour in (("a.bmp", RED), ("b.bmp", GREEN)):
        save(Image.new("RGB", (32, 32), colour), pictures / name)
        os.utime(pictures / name, ns=(10**18, 10**18))  # all equally old
    before = load_folder(pictures).clone()
    change(pictures / "a.bmp", Image.new("RGB", (32, 32), BLUE))
    after = load_folder(pictures)
    assert len(after) == count and not (len(after) == len(before) and torch.equal(after, before))


def test_another_folder_or_image_size_has_its_own_cache(pictures, tmp_path):
    file = pictures / "a.bmp"
    save(Image.new("RGB", (32, 32), RED), file)
    assert load_folder(pictures).shape[-1] == 32 and load_folder(pictures, 16).shape == (1, 3, 16, 16)
    save(Image.new("RGB", (32, 32), BLUE), tmp_path / "other" / "a.bmp")
    os.utime(tmp_path / "other" / "a.bmp", ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    assert pixels_are(load_folder(tmp_path / "other")[0], BLUE)


def test_writing_to_the_images_does_not_reach_the_cache(pictures):
    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    for _ in range(2):  # once as decoded just now, once from the cache
        load_folder(pictures).fill_(7)
    assert pixels_are(load_folder(pictures)[0], RED)


def test_an_interrupted_decode_leaves_nothing_behind(pictures, cache, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    monkeypatch.setattr("common.folder.tqdm", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_folder(pictures)
    assert cache.is_dir() and not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_refused(pictures, cache):
    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(RunError, match="cannot write") as end:
        load_folder(pictures)
    assert str(cache) in str(end.value)


@pytest.mark.parametrize("size", [0, 100, 10_000])
def test_a_cut_cache_is_made_again(size, pictures, cache):
    """As a power cut may leave it."""
    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    load_folder(pictures)
    (file,) = cache.iterdir()
    os.truncate(file, size)
    assert pixels_are(load_folder(pictures)[0], RED) and file.stat().st_size == 3 * 32 * 32


def test_too_little_memory_does_not_make_a_folder_smaller(pictures, cache, monkeypatch):
    """What cannot be decoded is missing in the cache, too: only files that are damaged may be."""

    def too_little(*_):
        raise MemoryError

    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(ImageOps, "fit", too_little)
        load_folder(pictures)
    assert not [*cache.iterdir()] and len(load_folder(pictures)) == 1


def test_a_user_without_a_home_is_told_what_to_set(pictures, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("common.folder.Path.home", homeless)
    with pytest.raises(RunError, match="no home folder .* XDG_CACHE_HOME"):
        load_folder(pictures)


def test_without_xdg_cache_home_the_cache_is_in_the_home(pictures, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    save(Image.new("RGB", (32, 32), RED), pictures / "a.png")
    load_folder(pictures)
    assert len(list((tmp_path / ".cache" / "cleangan").iterdir())) == 1

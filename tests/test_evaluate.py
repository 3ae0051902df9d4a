"""scripts/evaluate.py: closed forms, torch-fidelity against our own arithmetic, and the whole path on a tiny set."""

import json
import math
import pickle
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
from conftest import ALGOS
from PIL import Image
from torch import nn

from common.args import RunError
from common.data import Images
from scripts import evaluate
from scripts.lib import image_metrics as metrics

CPU = torch.device("cpu")
CLASSIFIERS = {}  # the files of classifiers that a test has trained


def random_images(n, channels=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, channels, 32, 32), generator=random, dtype=torch.uint8)


def digits(n, seed):
    """Ten classes that a net learns in seconds: a bright block at one of ten places, in noise. Images and labels."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 10
    images = torch.randint(100, (n, 1, 32, 32), generator=random, dtype=torch.uint8)
    for image, label in zip(images[:, 0], labels.tolist(), strict=True):
        top, left = 6 * (label % 5) + 1, 16 * (label // 5) + 2
        image[top : top + 5, left : left + 12] += 150
    return images, labels


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """`mnist` is 600 images of blocks, 200 of them for tests; caches are empty; the classifier trains in seconds."""

    def labelled_images(name, root, image_size, train=True):
        return digits(400, seed=0) if train else digits(200, seed=1)

    monkeypatch.setattr("common.data.labelled_images", labelled_images)
    monkeypatch.setattr(metrics, "labelled_images", labelled_images)
    monkeypatch.setattr(metrics, "EPOCHS", 20)
    monkeypatch.setattr(metrics, "STEPS", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def tiny_classified(tiny_mnist, tmp_path):
    """tiny_mnist, with the classifier in its cache that an earlier test left behind."""
    cache = tmp_path / "cache" / "cleangan"
    cache.mkdir(parents=True)
    for name, content in CLASSIFIERS.items():
        (cache / name).write_bytes(content)
    yield
    CLASSIFIERS.update({file.name: file.read_bytes() for file in cache.glob("classifier-*.pt")})


def trained(tmp_path, dataset="mnist"):
    """The folder of a run of two updates."""
    args = {"dataset": dataset, "width": 4, "batch_size": 8, "steps": 2, "log_every": 2, "out": str(tmp_path)}
    ALGOS["nsgan"].train(ALGOS["nsgan"].Args(**args, device="cpu"))
    return tmp_path / f"nsgan-{dataset}-s1"


def numbers_of(path):
    return [entry["numbers"] for entry in json.loads(path.read_text())]


# closed forms


def test_pair_statistics_of_a_collapsed_generator():
    """Ten images, 20 times each: 1,900 of 19,900 pairs are equal, a support of 10.5; one image: distance 0."""
    real, others = random_images(200), random_images(200, seed=1)
    fine = metrics.pair_statistics(others, real)
    assert fine["distance"] == pytest.approx(1, abs=0.02) and fine["duplicates"] < 0.05
    ten = metrics.pair_statistics(others[:10].repeat(20, 1, 1, 1), real)
    assert ten["duplicates"] == 1 and ten["support"] == pytest.approx(199 / 19)
    assert ten["distance"] == pytest.approx(0.9 / (199 / 200), abs=0.02)  # a tenth of the pairs is one image
    one = metrics.pair_statistics(others[:1].repeat(200, 1, 1, 1), real)
    assert one["distance"] == pytest.approx(0, abs=1e-6) and one["support"] == 1
    assert metrics.pair_statistics(real, real)["distance"] == 1


def test_pair_statistics_see_near_duplicates_and_not_twins_of_real_images():
    real = random_images(100)
    near = real[:50].repeat(2, 1, 1, 1)
    near[50:, 0, 0, 0] ^= 1  # one pixel, one step
    assert metrics.pair_statistics(near, real)["duplicates"] == 1
    assert metrics.pair_statistics(real, real)["duplicates"] <= 0.02
    twins = real.clone()
    twins[:10] = twins[10:20]  # a tenth of the real images has a twin; even so one image is seen
    one = metrics.pair_statistics(near[:1].repeat(100, 1, 1, 1), twins)
    assert one["duplicates"] == 1 and one["support"] == 1


def test_class_statistics():
    probabilities = torch.full((100, 10), 0.01)
    probabilities[:99, 3], probabilities[99, 7] = 0.91, 0.5
    found = metrics.class_statistics(probabilities)
    assert found["missing"] == 8 and found["unsure"] == pytest.approx(0.01)  # 7 has a tenth of its share: not missing
    assert found["classes"][3] == pytest.approx(0.99) and sum(found["classes"]) == pytest.approx(1)


def test_stacked_statistics():
    """All modes once: KL 0. One mode: log 1000. A digit missing in one channel: 900 modes, log (10 / 9)."""
    triples = torch.cartesian_prod(*[torch.arange(10)] * 3)
    sure = nn.functional.one_hot(triples, 10).double()
    found = metrics.stacked_statistics(sure)
    assert found["modes"] == 1000 and found["reverse_kl"] == pytest.approx(0, abs=1e-12) and found["unsure"] == 0
    assert metrics.stacked_statistics(sure[:1].repeat(50, 1, 1))["reverse_kl"] == pytest.approx(math.log(1000))
    found = metrics.stacked_statistics(sure[triples[:, 1] != 4])
    assert found["modes"] == 900 and found["reverse_kl"] == pytest.approx(math.log(10 / 9))
    assert metrics.stacked_statistics(0.8 * sure + 0.02)["unsure"] == 1
    half = sure.clone()
    half[:500, 2] = 0.8 * half[:500, 2] + 0.02  # one channel is enough
    found = metrics.stacked_statistics(half)
    assert found["unsure"] == 0.5 and found["modes"] == 1000 and found["sure_modes"] == 500
    twice = metrics.stacked_statistics(torch.cat([half, sure[:100]]))
    assert twice["sure_modes"] == 600 and twice["modes"] == 1000  # one sure image of a mode is enough


def test_the_floor_of_an_exact_sampler():
    """(K - 1) / 2n and a little: for 26,000 draws of 1,000 modes 0.0194."""
    mean, sd = metrics.exact_sampler()
    assert mean == pytest.approx(999 / 52_000, rel=0.03) and 0.0005 < sd < 0.0015


# the classifier


def test_classifier_learns_is_cached_and_deterministic(tiny_mnist, tmp_path, monkeypatch):
    net, accuracy, key = metrics.train_classifier("mnist", "data", 32, CPU)
    assert accuracy > 0.95 and not net.training
    (file,) = (tmp_path / "cache" / "cleangan").glob("classifier-*.pt")
    bytes_before = {name: value.clone() for name, value in net.state_dict().items()}

    def never(*_):
        raise AssertionError("trained again")

    with monkeypatch.context() as patch:
        patch.setattr(metrics.F, "cross_entropy", never)
        again, same, _ = metrics.train_classifier("mnist", "data", 32, CPU)
    assert (
        not again.training
        and same == accuracy
        and all(torch.equal(v, bytes_before[k]) for k, v in again.state_dict().items())
    )
    file.unlink()
    torch.manual_seed(123)  # whatever the state outside
    state = torch.get_rng_state()
    fresh, *_ = metrics.train_classifier("mnist", "data", 32, CPU)
    assert all(torch.equal(v, bytes_before[k]) for k, v in fresh.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    monkeypatch.setattr(metrics, "EPOCHS", 1)
    assert metrics.train_classifier("mnist", "data", 32, CPU)[2] != key
    for file in (tmp_path / "cache" / "cleangan").glob("classifier-*.pt"):
        file.write_bytes(file.read_bytes()[:999])  # damaged: trained again
    assert metrics.train_classifier("mnist", "data", 32, CPU)[2] != key


# torch-fidelity


def test_classifier_of_the_digits_is_right_on_98_of_100():
    """Of those that it has not seen: 353 of 360."""
    net, accuracy, _ = metrics.train_classifier("digits", "", 8, CPU)
    assert accuracy >= 0.97  # 0.983 here; another machine's arithmetic is another training


def numbers(images, real, name="classifier-test", stacked=False):
    torch.manual_seed(0)
    net = metrics.Classifier(1, 32, 10, width=4).eval()
    metrics.register(name, net, real, stacked, CPU)
    return net, metrics.fidelity(images, real, None, name, CPU)


def test_frechet_distance_and_precision_are_those_of_the_formula():
    """On standardised features, 128 numbers: |m - n|^2 + tr(S + T - 2 (S T)^0.5); precision, recall by definition."""
    real, images = random_images(300), random_images(300, seed=1) // 2
    net, found = numbers(images, real)
    with torch.no_grad():
        a, b = (net.features(x).double() for x in (images, real))
    sd = b.std(0).clamp(min=0.1 * b.std(0).mean())
    a, b = ((x - b.mean(0)) / sd for x in (a, b))
    root = torch.linalg.eigvals(a.T.cov() @ b.T.cov()).sqrt().sum().real
    fid = (a.mean(0) - b.mean(0)).square().sum() + a.T.cov().trace() + b.T.cov().trace() - 2 * root
    assert found["fid"] == pytest.approx(fid.item(), rel=1e-3)

    def covered(x, by):
        radius = torch.cdist(by, by).kthvalue(4).values  # itself and three neighbours
        return (torch.cdist(x, by) <= radius).any(1).double().mean().item()

    assert found["precision"] == pytest.approx(covered(a, b), abs=0.01)
    assert found["recall"] == pytest.approx(covered(b, a), abs=0.01)


def test_real_against_itself_and_a_collapsed_generator():
    real, others = digits(300, 0)[0], digits(300, 1)[0]
    same = numbers(real, real)[1]
    assert abs(same["fid"]) < 1e-3 and same["precision"] == same["recall"] == 1 and same["kid"] < 1e-3
    fine, collapsed = numbers(others, real)[1], numbers(others[:10].repeat(30, 1, 1, 1), real)[1]
    assert collapsed["fid"] > 2 * fine["fid"] and collapsed["recall"] < 0.1 < 0.5 < fine["recall"]
    assert collapsed["kid"] > fine["kid"]


def test_stacked_digits_have_joint_logits_and_features_of_all_channels():
    real = random_images(60, channels=3)
    net, _ = numbers(real, real, "classifier-stacked", stacked=True)
    from torch_fidelity import registry

    extractor = registry.FEATURE_EXTRACTORS_REGISTRY["classifier-stacked"]("x", ["features", "logits"])
    features, logits = extractor(real)
    assert features.shape == (60, 3 * 128) and logits.shape == (60, 1000)
    torch.testing.assert_close(features.mean(0), torch.zeros(384), atol=1e-4, rtol=0)
    one = [net(real[:1, i : i + 1]).softmax(1)[0] for i in range(3)]
    torch.testing.assert_close(logits.exp()[0, 274], one[0][2] * one[1][7] * one[2][4], atol=0, rtol=1e-4)
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(60))


def test_inception_itself_with_random_weights(tmp_path, tiny_mnist, monkeypatch, capsys):
    """The real architecture on the path that --weights takes; only the weights are not the published ones."""
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        net = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], verbose=False)
    torch.save(net.state_dict(), tmp_path / "weights.pth")
    torch.save({"weight": torch.ones(1)}, tmp_path / "others.pth")
    with pytest.raises(RunError, match="others.pth cannot be read"):  # tensors, but of another network
        metrics.inception_weights(str(tmp_path / "others.pth"))
    assert len(metrics.inception_weights(str(tmp_path / "weights.pth"))) == 16
    real = random_images(10)
    weights = str(tmp_path / "weights.pth")
    found = metrics.fidelity(real, real, "same", metrics.INCEPTION, CPU, weights, batch_size=10)
    assert abs(found["fid"]) < 1e-2 and found["precision"] == found["recall"] == 1
    assert len(list((tmp_path / "cache" / "cleangan" / "features").glob("same-inception*"))) >= 1  # the real ones


def test_without_a_network_one_message_says_what_to_do(monkeypatch, tiny_mnist, tmp_path):
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    def unreachable(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(inception, "load_state_dict_from_url", unreachable)
    with pytest.raises(RunError, match="(?s)Name or service.*--weights FILE.*--features classifier"):
        evaluate.main(evaluate.Args((str(trained(tmp_path)),), n=20, device="cpu"))
    assert not list((tmp_path / "cache").rglob("classifier*"))  # before anything that takes time


def test_numbers_are_exact_whatever_was_set_before():
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.allow_tf32
    try:
        cudnn.deterministic, cudnn.allow_tf32 = False, True
        assert metrics.exact_device("cpu").type == "cpu"
        assert cudnn.deterministic and not cudnn.allow_tf32
    finally:
        cudnn.deterministic, cudnn.allow_tf32 = before


def test_weights_that_are_code_are_refused_and_not_run(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return print, ("it ran",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(RunError, match="evil.pth cannot be read: it is no file of tensors alone$"):
        metrics.inception_weights(str(tmp_path / "evil.pth"))
    assert "it ran" not in capsys.readouterr().out


# the command


def test_the_whole_path_with_controls_and_no_second_computation(tiny_classified, tmp_path, capsys, monkeypatch):
    folder = trained(tmp_path)
    capsys.readouterr()
    args = evaluate.Args((str(folder),), features="classifier", n=120, controls=True, device="cpu")
    evaluate.main(args)
    first = capsys.readouterr().out
    assert "NOT Inception numbers" in first and "120 real and 120 generated" in first
    rows = [line.split("|")[1].strip() for line in first.splitlines() if line.startswith("|")]
    assert rows[2:5] == [str(folder), "other real images (120)", "ten images, repeated (120)"]
    (found,) = numbers_of(folder / "evaluation.json")
    assert all(math.isfinite(found[name]) for name in ("fid", "kid", "is", "precision", "recall", "distance"))
    assert len(found["classes"]) == 10 and found["recall"] < 0.5  # two updates: not digits
    (controls,) = (tmp_path / "cache" / "cleangan").glob("controls-*.json")
    real, ten = numbers_of(controls)
    assert real["fid"] > 0.01  # other images than the reference
    assert real["fid"] < 0.5 * found["fid"] and real["recall"] > 0.7
    assert real["missing"] == 0 and real["duplicates"] < 0.3
    assert ten["duplicates"] == 1 and ten["recall"] < 0.3 and ten["support"] < 12  # each diagnostic sees it

    def never(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(metrics, "fidelity", never)
    evaluate.main(args)
    assert capsys.readouterr().out == first
    evaluate.main(replace(args, controls=False))  # the numbers of a run do not depend on the other rows
    assert numbers_of(folder / "evaluation.json") == [found]
    content = (folder / "checkpoint.pt").read_bytes()
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    saved["state"]["G"]["net.1.weight"] += 0.01
    torch.save(saved, folder / "checkpoint.pt")
    with pytest.raises(AssertionError, match="again"):  # another checkpoint
        evaluate.main(args)
    (folder / "checkpoint.pt").write_bytes(content)
    evaluate.main(args)
    for other in ({"n": 121}, {"seed": 2}):
        with pytest.raises(AssertionError, match="again"):
            evaluate.main(replace(args, **other))
    monkeypatch.setattr(evaluate, "version", lambda _: "another")
    with pytest.raises(AssertionError, match="again"):
        evaluate.main(args)


def test_what_is_kept_may_be_damaged_or_impossible_to_write(tmp_path, monkeypatch, capsys):
    """Then the numbers are made again, or only returned, with a word about it."""
    path = tmp_path / "evaluation.json"
    for content in ("", "[", "{}", '{"a": 1}', '[1, {"settings": 2}]', '"x"'):
        path.write_text(content)
        assert metrics.remembered(path, {"n": 1}, lambda: {"fid": 2.0}) == {"fid": 2.0}
        assert numbers_of(path) == [{"fid": 2.0}]
    metrics.remembered(path, {"n": 2}, lambda: {"fid": 3.0})
    assert numbers_of(path) == [{"fid": 2.0}, {"fid": 3.0}]

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(metrics.os, "replace", full)
    assert metrics.remembered(path, {"n": 3}, lambda: {"fid": 4.0}) == {"fid": 4.0}
    assert "no space left" in capsys.readouterr().err and len(numbers_of(path)) == 2


def test_settings_have_the_weights_of_both_networks(tiny_classified, tmp_path, monkeypatch):
    """Another file of Inception's weights, or another classifier, and nothing that is kept is valid."""
    seen = []
    names = dict.fromkeys(("fid", "kid", "is", "precision", "recall"), 0.0)
    monkeypatch.setattr(metrics, "fidelity", lambda *a: seen.append(a[2]) or names)
    monkeypatch.setattr(metrics, "inception_weights", lambda path: path)
    folder = trained(tmp_path)
    for weights in ("a", "b", "a"):
        evaluate.main(evaluate.Args((str(folder),), weights=weights, n=50, device="cpu"))
    assert len(seen) == 2 == len(set(seen))  # and the features of the real images have other names
    monkeypatch.setattr(metrics, "EPOCHS", 1)
    evaluate.main(evaluate.Args((str(folder),), weights="a", n=50, device="cpu"))
    assert len(seen) == 3 == len(set(seen))


def test_controls_are_test_images_where_none_of_the_others_are_left(tiny_classified, tmp_path, monkeypatch, capsys):
    names = dict.fromkeys(("fid", "kid", "is", "precision", "recall"), 0.0)
    monkeypatch.setattr(metrics, "fidelity", lambda *_: names)
    evaluate.main(evaluate.Args((str(trained(tmp_path)),), "classifier", n=400, controls=True, device="cpu"))
    out = capsys.readouterr().out
    assert "400 real and 400 generated" in out and "other real images (200)" in out


def test_digits_have_no_control_as_all_are_the_reference(tmp_path, monkeypatch):
    """Their test images are among the real ones, and would only seem to be others."""
    folder, names = trained(tmp_path, "digits"), dict.fromkeys(("fid", "kid", "is", "precision", "recall"), 0.0)
    net = metrics.Classifier(1, 8, 10).eval()
    monkeypatch.setattr(metrics, "train_classifier", lambda *_: (net, 0.1, "net"))
    monkeypatch.setattr(metrics, "fidelity", lambda *_: names)
    with pytest.raises(RunError, match="all 1797 images are the reference"):
        evaluate.main(evaluate.Args((str(folder),), "classifier", n=2000, controls=True, device="cpu"))


@pytest.mark.parametrize("stack", [1, 3])
def test_reference_and_control_are_other_images(stack):
    """Of single images none is in both; n of all, the rest for the control."""
    images = torch.arange(100).view(-1, 1, 1, 1).expand(-1, 1, 16, 16).to(torch.uint8).contiguous()
    data = Images(images, CPU, stack=stack)
    real, others = metrics.real_images(data, 60, seed=1)
    assert real.shape == (60, *data.shape)
    if stack == 1:
        assert len(others) == 40 and sorted(torch.cat([real, others])[:, 0, 0, 0].tolist()) == list(range(100))
    else:
        assert len(others) == metrics.STACKED and not torch.equal(real, others[:60])
    assert torch.equal(real, metrics.real_images(data, 60, seed=1)[0])


def test_stacked_mnist_counts_modes(tiny_classified, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(metrics, "STACKED", 1500)
    folder = trained(tmp_path, "stacked_mnist")
    evaluate.main(evaluate.Args((str(folder),), features="classifier", n=60, controls=True, device="cpu"))
    out = capsys.readouterr().out
    assert "As many draws of 1,000 equal modes" in out and "| sure_modes |" in out
    (controls,) = (tmp_path / "cache" / "cleangan").glob("controls-*.json")
    real, ten = numbers_of(controls)
    assert real["modes"] > 650 and ten["modes"] <= 10 and ten["reverse_kl"] > math.log(1000 / 10) - 0.1
    assert real["reverse_kl"] < 0.6  # of 1,500 draws of 1,000 modes about 0.36


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 5}, "--n 5"),
        ({"runs": ()}, "which runs"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"seed": 2**70}, "--seed"),
        ({"weights": "missing.pth", "features": "inception"}, "cannot be read"),
    ],
)
def test_bad_input_ends_with_one_message(tiny_mnist, tmp_path, options, message):
    args = {"runs": (str(trained(tmp_path)),), "features": "classifier", "device": "cpu", **options}
    with pytest.raises(RunError, match=message):
        evaluate.main(evaluate.Args(**args))


def test_a_folder_of_colour_images_has_the_numbers_that_need_no_labels(tmp_path, tiny_images, monkeypatch, capsys):
    """Forty images: 25 are the reference, the rest the control; the data are looked for where the run found them."""
    shapes = []

    def fidelity(images, real, *_):
        shapes.append((images.shape, real.shape))
        return dict.fromkeys(("fid", "kid", "is", "precision", "recall"), 0.5)

    monkeypatch.setattr(metrics, "fidelity", fidelity)
    monkeypatch.setattr(metrics, "inception_weights", lambda path: "none")
    ALGOS["began"].train(ALGOS["began"].Args(**tiny_images, steps=1, out=str(tmp_path), device="cpu"))
    run = (str(tmp_path / "began-folder-s1"),)
    evaluate.main(evaluate.Args(run, n=25, device="cpu"))
    assert shapes == [((25, 3, 16, 16), (25, 3, 16, 16))] and "missing" not in capsys.readouterr().out
    with pytest.raises(RunError, match="a smaller --n"):
        evaluate.main(evaluate.Args(run, n=25, controls=True, device="cpu"))
    other = tmp_path / "other"
    for mode, count in (("L", 40), ("RGB", 19)):  # grey ones, or too few
        other.mkdir(exist_ok=True)
        for i in range(40):
            (other / f"{i}.png").unlink(missing_ok=True)
        for i in range(count):
            Image.new(mode, (16, 16)).save(other / f"{i}.png")
        with pytest.raises(RunError, match=f"has {count} images"):
            evaluate.main(evaluate.Args(run, n=25, data_root=str(other), device="cpu"))
    evaluate.main(evaluate.Args(run, n=20, controls=True, device="cpu"))
    assert shapes[-2:] == [((20, 3, 16, 16),) * 2] * 2


def test_unlabelled_sets_and_points_are_refused(tmp_path, tiny_images):
    args = ALGOS["nsgan"].Args(**tiny_images, steps=1, out=str(tmp_path), device="cpu")
    ALGOS["nsgan"].train(args)
    with pytest.raises(RunError, match="needs labels"):
        run = (str(tmp_path / "nsgan-folder-s1"),)
        evaluate.main(evaluate.Args(run, features="classifier", data_root=tiny_images["data_root"], device="cpu"))
    ALGOS["nsgan"].train(ALGOS["nsgan"].Args(steps=1, out=str(tmp_path), device="cpu"))
    with pytest.raises(RunError, match="named data set of images"):
        evaluate.main(evaluate.Args((str(tmp_path / "nsgan-ring-s1"),), device="cpu"))


def test_a_folder_of_classes_has_its_labels_and_every_fifth_image_is_for_tests(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number, (name, grey) in enumerate({"dark": 10, "light": 200}.items()):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(10 + 5 * number):
            Image.new("L", (8, 8), grey + i).save(tmp_path / "data" / name / f"{i:02d}.png")
    x, y = metrics.labelled_images("folder", str(tmp_path / "data"), 8)
    test_x, test_y = metrics.labelled_images("folder", str(tmp_path / "data"), 8, train=False)
    assert len(x) == 20 and len(test_x) == 5 and x.shape[1:] == (1, 8, 8)
    assert ((x[:, 0, 0, 0] >= 200) == (y == 1)).all() and test_x[:, 0, 0, 0].tolist() == [10, 15, 200, 205, 210]
    assert test_y.tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(RunError, match="folder for each class"):
        metrics.labelled_images("folder", str(tmp_path / "data" / "dark"), 8)

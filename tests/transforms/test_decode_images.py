import apache_beam as beam
import psutil
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from image_features.transforms.decode_images import DecodeImages
from image_features.transforms.images.policy import DecodePolicy
from image_features.transforms.values import EncodedImage, ImageRef
from tests import images


def test_images_in_children_are_counted_and_the_children_end_with_the_step():
    rows = [
        EncodedImage(ImageRef(format, format), images.encode(images.gradient(8, 8), format))
        for format in ("TIFF", "BMP", "JPEG")
    ]
    before = psutil.Process().children()
    pipeline = beam.Pipeline(FnApiRunner())
    pipeline | beam.Create(rows) | DecodeImages(policy=DecodePolicy((8, 8)), threads=1)
    result = pipeline.run()
    found = {
        name: result.metrics().query(MetricsFilter().with_name(f"decode/{name}"))["counters"]
        for name in ("decoded", "in_child")
    }
    assert {name: counter[0].committed for name, counter in found.items()} == {
        "decoded": 3,
        "in_child": 2,
    }
    assert set(psutil.Process().children()) <= set(before)

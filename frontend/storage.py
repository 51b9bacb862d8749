"""Static files with a digest in their names, compressed once at set-up."""

from __future__ import annotations

from typing import Any

from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

# The highest quality, 11, takes eight times as long for a tenth less, and somebody waits for it.
BROTLI_QUALITY = 7


class QuickCompressor(Compressor):  # type: ignore[misc]
    """WhiteNoise's own, at a quality that does not hold up a first start."""

    @staticmethod
    def compress_brotli(data: bytes) -> bytes:
        import brotli

        compressed: bytes = brotli.compress(data, quality=BROTLI_QUALITY)
        return compressed


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    def create_compressor(self, **options: Any) -> QuickCompressor:
        return QuickCompressor(**options)

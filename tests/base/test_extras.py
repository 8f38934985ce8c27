import json

import pytest

from bayeslmm.base.checks import InputError
from bayeslmm.base.extras import optional


def test_a_library_is_imported_or_the_extra_that_installs_it_is_told():
    assert optional("json", extra="x", what="x.json") is json
    with pytest.raises(InputError, match=r"x.vcf needs not_a_library: pip install 'bayeslmm\[vcf\]'"):
        optional("not_a_library", extra="vcf", what="x.vcf")

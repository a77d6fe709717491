# The Python package; see README.md beside this file.
#
#   make wheel          target/python/wheel/kvwal-*.whl, with the library inside; make python is the same
#   make python-test    installs the wheel into a virtual environment of its own, and tests what is installed
#
# Everything that is needed comes as a Debian package, so no Python package index has to be reached, and the virtual
# environment sees those packages. They belong to Debian's own Python: that one is taken where it is there, whatever
# python3 comes first in PATH.

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYTHON_DIR := bindings/python
PYTHON_OUT := target/python
PYTHON_SOURCES := $(wildcard $(addprefix $(PYTHON_DIR)/,pyproject.toml setup.py README.md src/kvwal/*))

.PHONY: python wheel python-test

python: wheel

wheel: build
	@PYTHON="$(PYTHON)" tools/need.sh python:pip python:setuptools python:wheel python:cffi
	@$(MAKE) --no-print-directory $(PYTHON_OUT)/wheel

# Built from a copy, so that the source tree stays as it is.
$(PYTHON_OUT)/wheel: $(PYTHON_SOURCES) include/kvwal.h $(LIB_DIR)/libkvwal.so
	@rm -rf $@ $(PYTHON_OUT)/source
	@mkdir -p $(PYTHON_OUT)/source
	@cp -r $(addprefix $(PYTHON_DIR)/,pyproject.toml setup.py README.md src) include/kvwal.h $(LIB_DIR)/libkvwal.so \
	    $(PYTHON_OUT)/source
	$(PYTHON) -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir $@ $(PYTHON_OUT)/source
	@ls $@/*.whl

python-test: wheel
	@PYTHON="$(PYTHON)" tools/need.sh python:ensurepip python:pytest python:mypy
	$(PYTHON_DIR)/test.sh "$(PYTHON)" $(PYTHON_OUT)

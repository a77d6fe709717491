# The server's tests.
#
#   make server-test                the tests in Rust, and all of c-tests/server in its small size
#   make server-torture SECONDS=n   the same, and more of it, for about so long

# What a client needs may be missing; then what needs it is skipped, and says so.
SERVER_PEERS := nc redis-cli redis-server package:python3-redis

.PHONY: server-build server-test server-smoke server-torture

server-build: build
	$(CARGO) build --release -p kv_server
	@tools/need.sh valgrind strace python3
	@for wanted in $(SERVER_PEERS); do tools/need.sh "$$wanted" || true; done
	@$(MAKE) --no-print-directory $(addprefix $(OUT)/server/,stress control)
	@! tools/need.sh package:libhiredis-dev || $(MAKE) --no-print-directory $(OUT)/server/hiredis_test

server-test: server-smoke
	$(CARGO) test -p kv_server

server-smoke: server-build
	c-tests/server/run.sh $(OUT)/server

server-torture: SECONDS ?= 120
server-torture: server-build
	c-tests/server/run.sh $(OUT)/server --long $(SECONDS)

$(OUT)/server/%: c-tests/server/%.c c-tests/support.h include/kvwal.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -lpthread $(LIBS)

$(OUT)/server/hiredis_test: LIBS := -lhiredis

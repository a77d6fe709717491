# The server's tests.
#
#   make server-test                  the tests in Rust, and all of c-tests/server in its small size
#   make server-clients               the latter alone: `make test` has run the others with those of the library
#   make server-torture SECONDS=120   the same for about so long: clients, kills

server-torture: SECONDS ?= 120
# What is missing of these is done without, and a line says so.
SERVER_PEERS := nc redis-cli redis-server package:python3-redis

.PHONY: server-build server-test server-clients server-torture

server-test: server-clients
	$(CARGO) test -p kv_server

server-clients: server-build
	c-tests/server/run.sh $(OUT)/server

server-torture: server-build
	c-tests/server/run.sh $(OUT)/server --long $(SECONDS)

server-build: build
	@tools/need.sh valgrind strace python3
	@for wanted in $(SERVER_PEERS); do tools/need.sh "$$wanted" || true; done
	@$(MAKE) --no-print-directory $(addprefix $(OUT)/server/,stress control)
	@! tools/need.sh package:libhiredis-dev || $(MAKE) --no-print-directory $(OUT)/server/hiredis_test

$(OUT)/server/%: c-tests/server/%.c c-tests/support.h include/kvwal.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -o $@ $< -lpthread $(LIBS)

$(OUT)/server/hiredis_test: LIBS := -lhiredis

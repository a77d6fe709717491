#include "result.h"

#include <stdio.h>

static void print_latency(const struct histogram *latency)
{
    static const struct {
        const char *name;
        double fraction;
    } quantiles[] = {{"p50_us", 0.5},   {"p75_us", 0.75},   {"p90_us", 0.9},     {"p95_us", 0.95},    {"p99_us", 0.99},
                     {"p995_us", 0.995}, {"p999_us", 0.999}, {"p9995_us", 0.9995}, {"p9999_us", 0.9999}};

    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        result_number(quantiles[i].name, (double)histogram_quantile(latency, quantiles[i].fraction) / 1e3);
    result_number("max_us", (double)latency->max / 1e3);
    result_number("over_100us", (double)histogram_above(latency, 100000));
    result_number("over_1ms", (double)histogram_above(latency, 1000000));
}

void result_begin(const struct options *options, const struct result *result)
{
    double rate = result->seconds > 0 ? (double)result->ops / result->seconds : 0;

    printf("store=%s workload=%s case=%s threads=%u keys=%zu value=%zu ops=%llu seconds=%.6f ops_per_s=%.1f",
           options->store, options->workload, result->name != NULL ? result->name : "-", result->threads, options->keys,
           options->value_len, (unsigned long long)result->ops, result->seconds, rate);
    if (result->op_bytes > 0)
        result_number("mb_per_s", rate * (double)result->op_bytes / 1e6);
    if (result->latency != NULL && result->latency->count > 0)
        print_latency(result->latency);
}

void result_number(const char *key, double value)
{
    printf(" %s=%.3f", key, value);
}

void result_end(void)
{
    putchar('\n');
    fflush(stdout);
}

void result_print(const struct options *options, const struct result *result)
{
    result_begin(options, result);
    result_end();
}

package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var days = regexp.MustCompile(`(?s)^(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// ParseDuration reads what time.ParseDuration reads, and days and weeks in
// front: "90d", "2w", "1d12h". It refuses negative values and numbers without
// a unit, which a reader and a program would understand differently.
func ParseDuration(s string) (time.Duration, error) {
	text := strings.TrimSpace(s)
	if text == "0" {
		return 0, nil
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit; write %ss, %sm, %sh or %sd", s, text, text, text, text)
	}
	m := days.FindStringSubmatch(text)
	var total time.Duration
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i+1], 10, 64)
		if err != nil || n > int64((1<<62)/unit) {
			return 0, fmt.Errorf("%q is too long", s)
		}
		total += time.Duration(n) * unit
	}
	if m[3] != "" || text == "" {
		d, err := time.ParseDuration(m[3])
		if err != nil {
			return 0, fmt.Errorf("%q is no duration; write for example 90s, 10m, 36h, 90d or 2w", s)
		}
		if d < 0 {
			return 0, fmt.Errorf("%q is negative", s)
		}
		total += d
	}
	if total < 0 {
		return 0, fmt.Errorf("%q is too long", s)
	}
	return total, nil
}

// decodeDuration is the decode hook for durations: viper's own would read a
// bare number as nanoseconds.
func decodeDuration(_, to reflect.Type, v any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return v, nil
	}
	switch x := v.(type) {
	case time.Duration:
		return x, nil
	case string:
		return ParseDuration(x)
	default:
		return ParseDuration(fmt.Sprint(x))
	}
}

// decodeList is the decode hook for lists given as text, in a variable.
func decodeList(from, to reflect.Type, v any) (any, error) {
	if from.Kind() != reflect.String || to != reflect.TypeFor[[]string]() {
		return v, nil
	}
	list := []string{}
	for item := range strings.SplitSeq(v.(string), ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list, nil
}

var (
	whole   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
)

// decodeScalar is the decode hook for numbers and switches given as text. It
// takes them as people write them: 010 is neither 8 nor 10, 0x10 and 1_000 are
// not numbers.
func decodeScalar(from, to reflect.Type, v any) (any, error) {
	if from.Kind() != reflect.String || to == reflect.TypeFor[time.Duration]() {
		return v, nil
	}
	text := strings.TrimSpace(v.(string)) //nolint:forcetypeassert // its kind
	switch to.Kind() {
	case reflect.Int:
		if !whole.MatchString(text) {
			return nil, fmt.Errorf("%q is not a whole number such as 8", text)
		}
		return strconv.Atoi(text)
	case reflect.Float64:
		if !decimal.MatchString(text) {
			return nil, fmt.Errorf("%q is not a number such as 2 or 0.5", text)
		}
		return strconv.ParseFloat(text, 64)
	case reflect.Bool:
		on, err := strconv.ParseBool(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not true or false", text)
		}
		return on, nil
	}
	return v, nil
}

package cli

import (
	"reflect"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keyrot/keyrot/internal/bound"
	"github.com/keyrot/keyrot/internal/config"
)

// limited fails unless every attempt of a call by cfg has a bound of a few
// seconds: an answer that never comes stops nobody for longer.
func limited(t *testing.T, what string, cfg aws.Config) {
	t.Helper()
	c, ok := cfg.HTTPClient.(interface{ GetTimeout() time.Duration })
	if !ok || c.GetTimeout() <= 0 || c.GetTimeout() > bound.Call {
		t.Errorf("%s: calls to AWS have no bound of %s at most (%T)", what, bound.Call, cfg.HTTPClient)
	}
}

// awsConfigs calls f for every SDK configuration that v's exported fields, or
// what they point to, hold.
func awsConfigs(v reflect.Value, path string, f func(path string, cfg aws.Config)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			awsConfigs(v.Elem(), path, f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			awsConfigs(v.Index(i), path, f)
		}
	case reflect.Struct:
		if cfg, ok := reflect.TypeAssert[aws.Config](v); ok {
			f(path, cfg)
			return
		}
		for field, value := range v.Fields() {
			if field.IsExported() {
				awsConfigs(value, path+"."+field.Name, f)
			}
		}
	}
}

// bounds checks the configurations of all parts.
func (s *system) bounds(t *testing.T) {
	t.Helper()
	parts := map[string]any{"rotator": s.rotator, "server": s.server, "notify": s.notify, "watch": s.watch}
	found := 0
	for name, part := range parts {
		awsConfigs(reflect.ValueOf(part), name, func(path string, cfg aws.Config) {
			found++
			limited(t, path, cfg)
		})
	}
	if found == 0 {
		t.Error("no part has an SDK configuration")
	}
}

// TestCallsToAWSAreBounded: whatever reads the SDK's settings, and every part
// that is given them. That nothing else reads them is archtest's to say.
func TestCallsToAWSAreBounded(t *testing.T) {
	e := lambdaEnv(t, "rotator")
	sdk, err := regional(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	limited(t, "regional", sdk)
	where, err := e.connectAWS(t.Context(), config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	limited(t, "connectAWS", where.Config)
	_, s, err := e.newFunction(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.bounds(t)
	served, _ := opened(t)
	served.bounds(t)
}

package config_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	c, err := load(t, "server: {trusted_proxies: [10.1.2.3/8, 192.0.2.1, \"2001:db8::/32\"]}\n", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Server.Proxies()
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Proxies() = %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"proxy.example", "10.0.0.0/33", "fe80::1%eth0", "::ffff:10.0.0.0/104", "*"} {
		c.Server.TrustedProxies = []string{bad}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "server.trusted_proxies") {
			t.Errorf("Validate() with trusted_proxies %q = %v, want an error that names the key", bad, err)
		}
	}
}

func TestHTTP2IsASwitch(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{"": true, "server: {http2: false}\n": false, "server: {http2: true}\n": true} {
		c, err := load(t, text, nil, nil)
		if err != nil || c.Server.HTTP2 != want {
			t.Errorf("%q: server.http2 = %t, %v, want %t", text, c.Server.HTTP2, err, want)
		}
	}
	if c, err := load(t, "", map[string]string{"KEYROT_SERVER_HTTP2": "false"}, nil); err != nil || c.Server.HTTP2 {
		t.Errorf("KEYROT_SERVER_HTTP2=false: %t, %v, want false", c.Server.HTTP2, err)
	}
}

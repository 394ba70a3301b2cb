package sqlite

import "testing"

func TestNetworkName(t *testing.T) {
	t.Parallel()
	for magic, want := range map[uint32]string{0x6969: "NFS", 0xff534d42: "SMB", 0xef53: ""} {
		if got := networkName(magic); got != want {
			t.Errorf("networkName(%#x) = %q, want %q", magic, got, want)
		}
	}
	if got := network(t.TempDir() + "/missing"); got != "" {
		t.Errorf("network of a missing file = %q", got)
	}
}

import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import software.amazon.awssdk.profiles.ProfileFile;

/**
 * Prints what the SDK reads in AWS configuration files: of each folder in the first argument, the file that
 * the second names. See sdkprofiles_test.go.
 */
class Profiles {
    public static void main(String[] args) throws Exception {
        Map<String, String> said = new TreeMap<>();
        try (DirectoryStream<Path> folders = Files.newDirectoryStream(Path.of(args[0]))) {
            for (Path folder : folders) {
                Path file = folder.resolve(args[1]);
                if (Files.exists(file)) {
                    said.put(folder.getFileName().toString(), read(file));
                }
            }
        }
        System.out.println(object(said));
    }

    static String read(Path file) {
        try {
            Map<String, String> profiles = new TreeMap<>();
            ProfileFile.builder().content(file).type(ProfileFile.Type.CONFIGURATION).build().profiles()
                .forEach((name, profile) -> profiles.put(name, object(quoted(profile.properties()))));
            return object(profiles);
        } catch (RuntimeException e) {
            return "null"; // it cannot be read
        }
    }

    static Map<String, String> quoted(Map<String, String> values) {
        Map<String, String> quoted = new TreeMap<>();
        values.forEach((name, value) -> quoted.put(name, quote(value)));
        return quoted;
    }

    static String object(Map<String, String> values) {
        return values.entrySet().stream().map(e -> quote(e.getKey()) + ":" + e.getValue()).collect(Collectors.joining(",", "{", "}"));
    }

    static String quote(String text) {
        return text.chars().mapToObj(c -> c < ' ' || c > '~' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : "" + (char) c)
            .collect(Collectors.joining("", "\"", "\""));
    }
}

import java.io.BufferedInputStream;
import java.io.PrintStream;
import java.util.zip.CRC32;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;

/** Reads a zip file from a stream; prints name, size and CRC of each file in it. */
public class ZipReader {
    public static void main(String[] args) throws Exception {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        ZipInputStream zip = new ZipInputStream(new BufferedInputStream(System.in));
        byte[] piece = new byte[1 << 16];
        for (ZipEntry entry; (entry = zip.getNextEntry()) != null; ) {
            CRC32 crc = new CRC32();
            long size = 0;
            for (int count; (count = zip.read(piece)) > 0; size += count) {
                crc.update(piece, 0, count);
            }
            out.println(entry.getName() + "\t" + size + "\t" + crc.getValue());
        }
    }
}

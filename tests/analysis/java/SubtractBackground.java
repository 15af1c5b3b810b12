import ij.plugin.filter.BackgroundSubtracter;
import ij.process.ByteProcessor;
import ij.process.FloatProcessor;
import ij.process.ImageProcessor;
import ij.process.ShortProcessor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;

/** ImageJ's own "Subtract Background" on raw little-endian pixels: FILE OUT WIDTH HEIGHT TYPE RADIUS SMOOTH, repeated. */
public class SubtractBackground {
    public static void main(String[] arguments) throws IOException {
        for (int i = 0; i < arguments.length; i += 7) {
            ImageProcessor image = read(arguments, i);
            new BackgroundSubtracter().rollingBallBackground(
                image, Double.parseDouble(arguments[i + 5]), false, false, false,
                Boolean.parseBoolean(arguments[i + 6]), false);
            ByteBuffer out = ByteBuffer.allocate(4 * image.getPixelCount()).order(ByteOrder.LITTLE_ENDIAN);
            for (int p = 0; p < image.getPixelCount(); p++) out.putFloat(image.getf(p));
            Files.write(Path.of(arguments[i + 1]), out.array());
        }
    }

    static ImageProcessor read(String[] arguments, int i) throws IOException {
        int width = Integer.parseInt(arguments[i + 2]);
        int height = Integer.parseInt(arguments[i + 3]);
        String type = arguments[i + 4];
        ByteBuffer pixels = ByteBuffer.wrap(Files.readAllBytes(Path.of(arguments[i]))).order(ByteOrder.LITTLE_ENDIAN);
        ImageProcessor image = type.equals("uint8") ? new ByteProcessor(width, height)
            : type.equals("uint16") ? new ShortProcessor(width, height) : new FloatProcessor(width, height);
        for (int p = 0; p < width * height; p++) {
            if (type.equals("uint8")) image.set(p, pixels.get() & 0xff);
            else if (type.equals("uint16")) image.set(p, pixels.getShort() & 0xffff);
            else image.setf(p, pixels.getFloat());
        }
        image.snapshot();
        return image;
    }
}

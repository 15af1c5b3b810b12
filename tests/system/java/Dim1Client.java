import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import org.zeromq.ZMsg;

/**
 * The smallest client of docs/wire-protocol.md, on JeroMQ: a window of 1, no thread.
 *
 * Arguments: endpoint, frames, height, width, milliseconds between frames, heartbeat in milliseconds (0: none);
 * then, to encrypt, the server's public key and the client's public and secret key (Z85). Frame n holds
 * (n + 1) * (row + column) % 251. Prints TYPE, header and CRC-32 of the pixels of each answer, a line each.
 */
public class Dim1Client {
    private static final int TIMEOUT_MS = 20_000;
    private static final int OPEN_TIMEOUT_MS = 5_000;
    private static ZMQ.Socket socket;

    public static void main(String[] args) throws InterruptedException {
        int frames = Integer.parseInt(args[1]);
        int height = Integer.parseInt(args[2]);
        int width = Integer.parseInt(args[3]);
        int pause = Integer.parseInt(args[4]);
        int heartbeat = Integer.parseInt(args[5]);
        try (ZContext context = new ZContext()) {
            socket = context.createSocket(SocketType.DEALER);
            socket.setLinger(0);
            socket.setSndHWM(0);
            socket.setReceiveTimeOut(OPEN_TIMEOUT_MS);
            if (heartbeat > 0) {
                socket.setHeartbeatIvl(heartbeat);
                socket.setHeartbeatTimeout(10 * heartbeat);
                socket.setHeartbeatTtl(10 * heartbeat);
                socket.setHeartbeatContext("dimstream-java".getBytes(StandardCharsets.US_ASCII));
            }
            if (args.length > 6) {
                socket.setCurveServerKey(args[6].getBytes(StandardCharsets.US_ASCII));
                socket.setCurvePublicKey(args[7].getBytes(StandardCharsets.US_ASCII));
                socket.setCurveSecretKey(args[8].getBytes(StandardCharsets.US_ASCII));
            }
            socket.connect(args[0]);
            String size = "\"shape\":[" + height + "," + width + "],\"dtype\":\"uint16\"";
            String opened = ask("OPEN", "{\"client\":\"java\"," + size + "}", null);
            socket.setReceiveTimeOut(TIMEOUT_MS);
            String stream = opened.replaceAll(".*\"stream\":\"([^\"]*)\".*", "$1");
            for (int n = 0; n < frames; n++) {
                if (n > 0) {
                    Thread.sleep(pause);
                }
                String header = "{\"stream\":\"" + stream + "\",\"seq\":" + n + "," + size + ",\"codec\":\"none\"}";
                ask("FRAME", header, pixels(n, height, width));
            }
            ask("CLOSE", "{\"stream\":\"" + stream + "\",\"last_seq\":" + (frames - 1) + "}", null);
        }
    }

    private static byte[] pixels(int n, int height, int width) {
        ByteBuffer buffer = ByteBuffer.allocate(2 * height * width).order(ByteOrder.LITTLE_ENDIAN);
        for (int row = 0; row < height; row++) {
            for (int column = 0; column < width; column++) {
                buffer.putShort((short) ((n + 1) * (row + column) % 251));
            }
        }
        return buffer.array();
    }

    private static String ask(String type, String header, byte[] pixels) {
        ZMsg message = new ZMsg();
        message.add("DIM1" + type);
        message.add(header.getBytes(StandardCharsets.UTF_8));
        if (pixels != null) {
            message.add(pixels);
        }
        message.send(socket);
        ZMsg answer = ZMsg.recvMsg(socket);
        if (answer == null) {
            throw new IllegalStateException("no answer to " + type + " within " + socket.getReceiveTimeOut() + " ms");
        }
        String kind = answer.popString();
        String told = answer.popString();
        CRC32 sum = new CRC32();
        if (!answer.isEmpty()) {
            sum.update(answer.pop().getData());
        }
        System.out.println(kind + " " + sum.getValue() + " " + told);
        return told;
    }
}
